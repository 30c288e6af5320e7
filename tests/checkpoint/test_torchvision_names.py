"""The order of torchvision's anchors of a cell."""

from __future__ import annotations

import pytest
from torch.testing import assert_close

from retina_plugin.checkpoint.torchvision_names import torchvision_indices
from retina_plugin.modeling.anchors import AnchorGenerator


@pytest.mark.parametrize("ratios", [[1.0], [0.5, 1.0], [0.5, 1.0, 2.0]])
def test_anchors_equal_those_of_torchvision(ratios: list[float]) -> None:
    detection = pytest.importorskip("torchvision.models.detection.anchor_utils")
    sizes = [32, 64, 128, 256]
    ours = AnchorGenerator(sizes=[sizes], aspect_ratios=[ratios], strides=[8], offset=0.0)
    theirs = detection.AnchorGenerator((tuple(sizes),), (tuple(ratios),)).cell_anchors[0]
    # torchvision rounds to pixels
    assert_close(theirs[torchvision_indices(ours)], ours.cells[0], atol=0.51, rtol=0)
