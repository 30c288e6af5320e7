"""Detections and losses of evaluation samples: as a whole and in slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import CfgNode
from retina_plugin.data import load_dataset
from retina_plugin.data.samples import EvaluationDataset, ValidationDataset
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.structures import ImageLosses
from tests.models import compact_cfg
from tests.scenes import write_scenes

SIZE = "MODEL__RETINA_PLUGIN__TEST__SLICE__SIZE"


@pytest.fixture
def records(tmp_path: Path) -> list[dict[str, Any]]:
    """Images of 64 x 80, 64 x 80 without boxes, and 80 x 64 pixels."""
    return load_dataset(write_scenes(tmp_path, count=3, seed=0)).records


def cfg_of(**changes: Any) -> CfgNode:
    # the scores of an untrained model are near 0.01
    settings = {"MODEL__RETINANET__SCORE_THRESH_TEST": 0.0101, "INPUT__MIN_SIZE_TEST": 96}
    return compact_cfg(**{**settings, **changes})


@torch.no_grad()
def test_whole_images(records: list[dict[str, Any]]) -> None:
    cfg = cfg_of()
    model = build_model(cfg).eval()
    plain, measured = (
        list(map(kind.from_config(cfg, records).__getitem__, range(3)))
        for kind in (EvaluationDataset, ValidationDataset)
    )
    assert "views" not in plain[0]
    for sample, with_objects in zip(plain, measured, strict=True):
        (detections,), no_losses, none = detect_samples(model, [sample])
        assert no_losses == none == []
        (alone,) = model.detect_images([sample["image"]])
        size = sample["image"].shape[-2], sample["image"].shape[-1]
        file_size = sample["height"], sample["width"]
        expected = rescale_detections(alone, network_size=size, image_size=file_size)
        assert_close(detections, expected)
        (again,), losses, (unfiltered,) = detect_samples(model, [with_objects])
        assert_close(again, expected)
        above = unfiltered["scores"] > 0.0101
        assert 0 < above.sum() < len(above)
        assert_close({name: x[above] for name, x in unfiltered.items()}, expected)
        target = {name: with_objects[name] for name in ("boxes", "labels")}
        assert losses == model.detect_and_measure([with_objects["image"]], [target]).losses


@torch.no_grad()
def test_losses_in_slices(records: list[dict[str, Any]]) -> None:
    """The sum over the slices, without the whole image. Slices of 64 pixels cover an image of
    64 x 80 from x = 0 and x = 16 on."""
    cfg = cfg_of(**{SIZE: 64})
    model = build_model(cfg).eval()
    record = records[0]
    sample = ValidationDataset.from_config(cfg, [record])[0]
    (found,), (losses,), (unfiltered,) = detect_samples(model, [sample])
    plain = detect_samples(model, [EvaluationDataset.from_config(cfg, [record])[0]])
    ((same,), *others) = plain
    assert others == [[], []]
    assert_close(found, same)
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
    without_filter = build_model(cfg).eval()
    without_filter.load_state_dict(model.state_dict())
    assert_close(unfiltered, detect_samples(without_filter, [sample]).detections[0])
    assert len(unfiltered["scores"]) > len(found["scores"])
    assert len(found["scores"]) > 0

    target = {
        "boxes": torch.tensor([a["bbox"] for a in record["annotations"]]),
        "labels": torch.tensor([a["category_id"] for a in record["annotations"]]),
    }
    parts = []
    for (view,) in model.views.plan(64, 80)[:2]:
        images, targets = [sample["views"](view)], [view.from_image(target)]
        assert images[0].shape == (3, 96, 96)
        parts += model.detect_and_measure(images, targets).losses
    expected = ImageLosses.sum(parts)
    assert_close(losses.sums, expected.sums, rtol=1e-4, atol=1e-6)
    assert losses.positives == expected.positives > 0


@pytest.mark.parametrize(
    "changes",
    [
        {SIZE: 64, "MODEL__RETINA_PLUGIN__TEST__SLICE__MERGE": "greedy"},
        {
            "TEST__AUG__ENABLED": True,
            "TEST__AUG__MIN_SIZES": (64,),
            "MODEL__RETINA_PLUGIN__TEST__AUG__MERGE": "wbf",
        },
    ],
    ids=["greedy", "wbf"],
)
@torch.no_grad()
def test_no_unfiltered_detections_if_low_scores_change_the_others(
    records: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    cfg = cfg_of(MODEL__RETINANET__SCORE_THRESH_TEST=0.5, **changes)
    sample = ValidationDataset.from_config(cfg, records[:1])[0]
    found = detect_samples(build_model(cfg).eval(), [sample])
    assert (len(found.losses), found.unfiltered) == (1, [])
