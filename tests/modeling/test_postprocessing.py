import pytest
import torch
from torch.testing import assert_close

from retina_plugin.modeling.postprocessing import rescale_detections, select_candidates
from retina_plugin.modeling.structures import flatten_level
from tests.parts import detect


def test_flatten_by_hand() -> None:
    """A = 2, K = 3, H = 1, W = 2: channel a * 3 + k of cell (y, x) has the value 100 a + 10 x +
    k."""
    maps = torch.tensor(
        [[[[100.0 * a + 10 * x + k for x in range(2)]] for a in range(2) for k in range(3)]]
    )
    expected = [[0, 1, 2], [100, 101, 102], [10, 11, 12], [110, 111, 112]]
    assert_close(flatten_level(maps, 3), torch.tensor([expected]).float())


@pytest.mark.parametrize(
    ("threshold", "topk", "pairs"),
    [
        pytest.param(0.5, 10, [(1, 0), (0, 1)], id="two above the threshold, fewer than k"),
        pytest.param(0.5, 1, [(1, 0)], id="the best"),
        pytest.param(0.999, 10, [], id="none above"),
        pytest.param(0.0, 10, [(1, 0), (0, 1), (1, 1), (0, 0)], id="threshold 0: all"),
    ],
)
def test_select(threshold: float, topk: int, pairs: list[tuple[int, int]]) -> None:
    logits = torch.tensor([[-3.0, 1.0], [4.0, -1.0]])
    rows, classes, scores = select_candidates(logits, score_threshold=threshold, topk=topk)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == pairs
    assert_close(
        scores,
        torch.tensor([logits[r, c] for r, c in pairs]).sigmoid() if pairs else torch.zeros(0),
    )


def test_a_score_at_the_threshold_does_not_pass() -> None:
    rows, _, scores = select_candidates(
        torch.tensor([[0.0], [1e-3], [-1e-3]]), score_threshold=0.5, topk=10
    )
    assert rows.tolist() == [1]
    assert_close(scores, torch.tensor([1e-3]).sigmoid())


def run(anchors: torch.Tensor, logits: torch.Tensor, **changes: float) -> dict[str, torch.Tensor]:
    options = {
        "score_threshold": 0.05,
        "topk": 100,
        "nms_threshold": 0.5,
        "max_detections": 100,
    } | changes
    return detect(
        [anchors],
        [logits[None]],
        [torch.zeros(1, len(anchors), 4)],
        **options,
    )[0]


def test_suppression_is_per_class() -> None:
    """Anchors 0 and 1 overlap (IoU 0.67), anchor 2 is separate. In class 0 the lower score of the
    pair is removed; in class 1 only anchor 1 has a score."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
    logits = torch.tensor([[2.0, -9.0], [1.0, 0.5], [0.0, -9.0]])
    found = run(anchors, logits)
    assert_close(found["boxes"], anchors[[0, 1, 2]])
    assert found["labels"].tolist() == [0, 1, 0]
    assert_close(found["scores"], torch.tensor([2.0, 0.5, 0.0]).sigmoid())
    assert len(run(anchors, logits, max_detections=2)["scores"]) == 2


def test_nothing_found() -> None:
    found = run(torch.tensor([[0.0, 0, 10, 10]]), torch.full((1, 4), -9.0))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
    }


def test_ties_are_broken_by_level() -> None:
    """Three levels of 100 separate boxes with equal scores: if only some may be returned, those of
    finer levels come first."""
    corner = torch.arange(300.0)[:, None] * 20
    boxes = torch.cat([corner, corner, corner + 10, corner + 10], dim=1)
    levels = list(boxes.split(100))
    found = detect(
        levels,
        [torch.zeros(1, 100, 1)] * 3,
        [torch.zeros(1, 100, 4)] * 3,
        score_threshold=0.05,
        topk=100,
        nms_threshold=0.5,
        max_detections=300,
    )[0]
    level = (found["boxes"][:, 0] / 2000).long()  # 20 pixels for each of 100 boxes
    assert level.tolist() == [0] * 100 + [1] * 100 + [2] * 100


def test_to_image_scales_clips_and_drops() -> None:
    """The network input was 100 x 200 for an image of 50 x 400; the second box lies outside."""
    found = {
        "boxes": torch.tensor([[10.0, 20, 30, 120], [210, 5, 230, 9]]),
        "scores": torch.tensor([0.9, 0.8]),
        "labels": torch.tensor([1, 2]),
    }
    result = rescale_detections(found, network_size=(100, 200), image_size=(50, 400))
    assert_close(result["boxes"], torch.tensor([[20.0, 10, 60, 50]]))
    assert result["labels"].tolist() == [1]
