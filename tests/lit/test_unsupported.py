"""Unsupported settings on Lightning are errors, before the run or at the first step."""

from pathlib import Path

import pytest

from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from tests.scenes import write_run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["DATALOADER.RANDOM_SUBSET_RATIO", "0.5"],
            "Keys that only Detectron2 reads are not supported",
        ),
        (["TEST.PRECISE_BN.ENABLED", "True"], r"unknown key TEST.PRECISE_BN.ENABLED"),
        (
            ["MODEL.META_ARCHITECTURE", "RetinaNet"],
            "META_ARCHITECTURE is RetinaNet; without Detectron2 it must be Focal",
        ),
        (
            ["MODEL.RETINA_PLUGIN.INPUT.MAPPER", "detectron2"],
            "INPUT.MAPPER is detectron2, which Lightning does not have",
        ),
        (["SOLVER.REFERENCE_WORLD_SIZE", "8"], r"unknown key SOLVER.REFERENCE_WORLD_SIZE"),
    ],
)
def test_unsupported(tmp_path: Path, root: Path, overrides: list[str], words: str) -> None:
    config = write_run(tmp_path, root)
    with pytest.raises(ValueError, match=words):
        launch(config, overrides, Request(), host="lightning")
    assert not list(tmp_path.rglob("*.pth"))
