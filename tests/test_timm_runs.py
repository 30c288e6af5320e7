"""A RetinaNet with a timm backbone trains on both hosts, and each host evaluates checkpoints of
both."""

import importlib.util
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
pytest.importorskip("timm")


@pytest.fixture
def train_net(root: Path) -> Any:
    """``main`` of ``tools/train_net.py``, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield runpy.run_path(str(root / "tools/train_net.py"))["main"]
    torch.set_num_threads(threads)


def detections(folder: Path) -> list[dict[str, Any]]:
    """Detections of a run on its test set, highest score first for each image."""
    found = json.loads(
        (folder / "inference/coco_instances_results.json").read_text(encoding="utf-8")
    )
    return sorted(found, key=lambda one: (one["image_id"], -one["score"]))


@pytest.mark.long
@pytest.mark.parametrize("host", HOSTS)
def test_checkpoints_of_one_host_are_evaluated_on_the_other(
    host: str, tmp_path: Path, train_net: Any, root: Path
) -> None:
    keys = {
        "MODEL.BACKBONE.NAME": "build_retina_timm_bifpn_backbone",
        "MODEL.RETINA_PLUGIN.TIMM.NAME": "mobilenetv3_small_050",
        "MODEL.PIXEL_STD": "[1.0, 1.0, 1.0]",
        "SOLVER.MAX_ITER": "3",
    }
    overrides = [word for pair in keys.items() for word in pair]
    train_net(["--config-file", write_run(tmp_path, root), "--host", host, *overrides])
    out = tmp_path / "out"
    written = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))
    assert written["INPUT"]["FORMAT"] == "RGB"
    assert written["MODEL"]["PIXEL_MEAN"] == [123.675, 116.28, 103.53]
    expected = detections(out)
    assert len(expected) > 20
    for other in HOSTS:
        again = tmp_path / other
        words = ["MODEL.WEIGHTS", str(out / "model_final.pth"), "OUTPUT_DIR", str(again)]
        train_net(
            ["--config-file", str(out / "config.yaml"), "--host", other, "--eval-only", *words]
        )
        found = detections(again)
        assert [one["score"] for one in found] == pytest.approx(
            [one["score"] for one in expected], abs=1e-5
        )
        assert [one["category_id"] for one in found] == [one["category_id"] for one in expected]


@pytest.mark.long
@pytest.mark.parametrize("host", HOSTS)
def test_training_starts_from_a_file_of_timm(
    host: str, tmp_path: Path, train_net: Any, root: Path, capfd: pytest.CaptureFixture
) -> None:
    """A resumed run does not need the file any more."""
    import timm

    weights = tmp_path / "model.safetensors"
    pytest.importorskip("safetensors.torch").save_file(
        timm.create_model("resnet10t").state_dict(), weights
    )
    keys = {
        "MODEL.BACKBONE.NAME": "build_retina_timm_fpn_backbone",
        "MODEL.RETINA_PLUGIN.TIMM.NAME": "resnet10t",
        "MODEL.PIXEL_STD": "[1.0, 1.0, 1.0]",
        "MODEL.WEIGHTS": str(weights),
    }
    argv = [
        "--config-file",
        write_run(tmp_path, root),
        "--host",
        host,
        *(w for pair in keys.items() for w in pair),
    ]
    train_net([*argv, "SOLVER.MAX_ITER", "1"])
    output = capfd.readouterr().out
    assert re.search(r"model.safetensors .*: \d+ of \d+ parameters are taken over", output)
    weights.unlink()
    train_net(["--resume", *argv, "SOLVER.MAX_ITER", "2"])
