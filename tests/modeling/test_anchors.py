import pytest
import torch
from torch.testing import assert_close

from retina_plugin.modeling.anchors import AnchorGenerator, cell_anchors, grid_anchors
from retina_plugin.modeling.structures import flatten_level


def test_cell_anchors_by_hand() -> None:
    # size 32, height / width 0.25: width 32 / sqrt(0.25) = 64, height 16
    expected = torch.tensor(
        [
            [-32.0, -8, 32, 8],
            [-16, -16, 16, 16],
            [-8, -32, 8, 32],
            [-64, -16, 64, 16],
            [-32, -32, 32, 32],
            [-16, -64, 16, 64],
        ]
    )
    assert_close(cell_anchors([32, 64], [0.25, 1, 4]), expected)


@pytest.mark.parametrize(("offset", "first"), [(0.0, 0.0), (0.5, 4.0)])
def test_grid_by_hand(offset: float, first: float) -> None:
    """A grid of 2 rows and 3 columns, stride 8: row by row, anchor by anchor."""
    anchors = grid_anchors(cell_anchors([4], [1.0]), (2, 3), stride=8, offset=offset)
    centres = [(first + 8 * x, first + 8 * y) for y in range(2) for x in range(3)]
    assert_close(anchors, torch.tensor([[x - 2, y - 2, x + 2, y + 2] for x, y in centres]))


def test_order_is_that_of_flattened_predictions() -> None:
    """Write every anchor into a prediction map at its cell and channel; flattening must return the
    anchors."""
    cell = cell_anchors([8, 16], [0.5, 2])  # A = 4
    anchors = grid_anchors(cell, (3, 5), stride=8, offset=0)
    # y, x
    shifts = torch.stack(torch.meshgrid(torch.arange(3) * 8, torch.arange(5) * 8, indexing="ij"))
    xyxy = shifts[[1, 0, 1, 0]].float()  # (4, H, W)
    prediction = (cell[:, :, None, None] + xyxy).reshape(1, 4 * 4, 3, 5)
    assert_close(flatten_level(prediction, 4)[0], anchors)


def test_generator_counts_and_broadcasts() -> None:
    generator = AnchorGenerator(
        sizes=[[8], [16]], aspect_ratios=[0.5, 1, 2], strides=[8, 16], offset=0.0
    )
    anchors = generator([(4, 6), (2, 3)])
    assert generator.num_anchors == 3
    assert anchors.counts == (4 * 6 * 3, 2 * 3 * 3)
    assert anchors.per_cell == 3
    assert anchors.levels.tolist() == [0] * 72 + [1] * 18
    few = anchors.at(torch.tensor([80, 3, 71, 72]))
    assert few.stride_of_each.tolist() == [16, 8, 8, 16]
    assert_close(few.boxes, anchors.boxes[[80, 3, 71, 72]])
    assert generator.state_dict() == {}


@pytest.mark.parametrize(
    ("sizes", "ratios", "words"),
    [
        pytest.param([[8], [16]], [1.0], "SIZES has 2 lists", id="two lists for three levels"),
        pytest.param([[8], [16], [32, 40]], [1.0], "same number of anchors", id="levels differ"),
    ],
)
def test_lists_of_wrong_length(sizes: list, ratios: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AnchorGenerator(sizes=sizes, aspect_ratios=ratios, strides=[8, 16, 32], offset=0.0)
