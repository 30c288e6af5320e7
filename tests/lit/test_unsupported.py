"""What Lightning cannot do is an error, told before or at the first step, never silence."""

import argparse
from pathlib import Path

import pytest

from retina_plugin.lit.run import run
from tests.scenes import write_run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
            "Keys that only Detectron2 reads are not supported",
        ),
        (["TEST.AUG.ENABLED", "True"], r"unknown key TEST.AUG.ENABLED"),
        (
            ["MODEL.META_ARCHITECTURE", "RetinaNet"],
            "META_ARCHITECTURE is RetinaNet, without Detectron2 it must be Focal",
        ),
        (["SOLVER.REFERENCE_WORLD_SIZE", "8"], r"unknown key SOLVER.REFERENCE_WORLD_SIZE"),
    ],
)
def test_unsupported(tmp_path: Path, root: Path, overrides: list[str], words: str) -> None:
    flags = {
        "resume": False,
        "eval_only": False,
        "num_gpus": 1,
        "num_machines": 1,
        "machine_rank": 0,
        "dist_url": "",
    }
    config = write_run(tmp_path, root)
    with pytest.raises(ValueError, match=words):
        run(argparse.Namespace(config_file=config, opts=overrides, **flags))
    assert not list(tmp_path.rglob("*.pth"))
