"""``RetinaNetModule`` without a trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from retina_plugin.lit.module import RetinaNetModule
from tests.models import compact_cfg, compact_model
from tests.scenes import write_scenes


@pytest.mark.parametrize("original", [(30, 70), (64, 150), (15, 35)], ids=str)
def test_detections_are_kept_in_pixels_of_the_original(
    tmp_path: Path, original: tuple[int, int]
) -> None:
    """The network input has 32 x 75 pixels, the original another size. A box over the whole
    input becomes a box over the whole original, as [x, y, width, height] and with the id of its
    category."""
    name = write_scenes(tmp_path, count=1, seed=0)
    square = json.loads((tmp_path / "annotations.json").read_text())["categories"][0]["id"]
    model = compact_model()
    module = RetinaNetModule(
        model, compact_cfg(DATASETS__TEST=[name]), class_names=["a", "b", "c"], seed=0
    )
    whole = {"boxes": torch.tensor([[0.0, 0, 75, 32]]), "scores": torch.tensor([0.5])}
    model.detect_images = lambda images: [{**whole, "labels": torch.zeros(1, dtype=torch.int64)}]
    sample = {"image": torch.zeros(3, 32, 75, dtype=torch.uint8), "image_id": 7}
    module.on_validation_start()
    module.validation_step([{**sample, "height": original[0], "width": original[1]}], 0)
    ((result,),) = module._detections[0].values()
    assert result == {
        "image_id": 7,
        "category_id": square,
        "bbox": pytest.approx([0, 0, original[1], original[0]]),
        "score": 0.5,
    }
