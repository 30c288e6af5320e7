"""Exported files in ``retina_plugin.load`` and ``retina predict``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch.testing import assert_close

import retina_plugin
from retina_plugin.cli import command
from retina_plugin.config import ConfigError
from retina_plugin.data import read_image
from retina_plugin.inference.detector import Detector
from retina_plugin.inference.predictor import Predictor
from tests.export.models import NAMES, THRESHOLDS, export, tiny_model
from tests.scenes import write_scenes


@pytest.mark.slow
def test_an_exported_file_finds_what_its_model_finds(tmp_path: Path) -> None:
    """With the class names, thresholds and sizes that the file has."""
    _, path = export(tmp_path, "torchscript")
    write_scenes(tmp_path, count=2, seed=0)
    model, cfg = tiny_model()
    expected = Detector(Predictor(model, cfg=cfg, class_names=NAMES, score_thresholds=THRESHOLDS))
    detector = retina_plugin.load(path)
    assert (
        detector.thresholds == expected.thresholds == {"cat": 0.25, "guinea pig": 0.5, "dog": 0.5}
    )
    images = sorted(str(image) for image in (tmp_path / "images").iterdir())
    for source in (*images, read_image(images[0])):
        for threshold in (None, 0.0):
            found, other = (
                detector(source, threshold=threshold),
                expected(source, threshold=threshold),
            )
            assert_close(dict(found), dict(other), rtol=1e-3, atol=0.05)
    assert len(detector(images[0], threshold=0)["scores"]) > 3
    with pytest.raises(ConfigError, match="is an exported file, whose values are fixed"):
        retina_plugin.load(path, overrides=["INPUT.MIN_SIZE_TEST", 32])
    key = "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE"  # says how files are read, as in retina eval
    options = retina_plugin.load(path, overrides=[key, [0, 4095]])._options
    assert options["pixel_range"] == (0, 4095)
    command.main(["predict", "--weights", path, "--input", *images, "--output", f"{tmp_path}/out"])
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    for entry, image in zip(entries, images, strict=True):
        assert len(entry["detections"]) == len(detector(image)["scores"])
