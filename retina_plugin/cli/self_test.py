"""Train, save, resume and load a tiny model, for ``retina doctor``.

This runs in a separate process, because an incompatible library may end the process or hang.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from retina_plugin.engine.doctor.finding import BROKEN, NOTE, OK, Finding
from retina_plugin.engine.doctor.imports import cure_of

if TYPE_CHECKING:
    from retina_plugin.engine.doctor.finding import Check

TIMEOUT = 180.0  # seconds; it takes about ten on two cores
STEPS = 2
SIDE = 64  # pixels
MODEL = {
    "MODEL.META_ARCHITECTURE": "FocalRetinaNet",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_retina_resnet_fpn_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.NORM": "GN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.FPN.NORM": "GN",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32], [64], [128], [256]],
    "MODEL.RETINANET.NUM_CLASSES": -1,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": 4,
    "MODEL.RETINA_PLUGIN.TEST.REPORT": False,  # it takes seconds
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.MIN_SIZE_TRAIN": (SIDE,),
    "INPUT.MIN_SIZE_TEST": SIDE,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.STEPS": (),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.CHECKPOINT_PERIOD": STEPS,
    "SEED": 1,
}


def self_test(host: str) -> Finding:
    """Run :func:`main` in another process, on the CPU."""
    from retina_plugin.engine.hosts import detectron2_problem

    if host == "detectron2" and detectron2_problem() is not None:
        return Finding(NOTE, "not run, because Detectron2 cannot be used")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "retina_plugin.cli.self_test", host, folder]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Finding(
                BROKEN,
                f"did not end in {TIMEOUT:.0f} seconds",
                "OMP_NUM_THREADS=1, if other programs use all cores",
            )
    return _finding(done.returncode, done.stdout, seconds=time.monotonic() - start)


def _environment(folder: str) -> dict[str, str]:
    """Let the other process import this package, and write caches to the temporary folder."""
    import retina_plugin

    top = os.path.dirname(os.path.dirname(os.path.abspath(retina_plugin.__file__)))
    path = os.pathsep.join(filter(None, [top, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "RETINA_PLUGIN_CACHE": folder}


def _finding(code: int, output: str, *, seconds: float) -> Finding:
    """Return the finding of a process with an exit code and its output."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    if code == 0:
        return Finding(OK, f"{last} in {seconds:.0f} seconds")
    if code < 0:
        name = signal.Signals(-code).name
        cure = (
            "free memory: the system has probably ended it for want of memory"
            if name == "SIGKILL"
            else "a compiled library does not fit this machine: install torch, torchvision, numpy "
            "and opencv again"
        )
        return Finding(BROKEN, f"was ended by {name}", cure)
    return Finding(BROKEN, last, cure_of(RuntimeError(output), "torch torchvision"))


SELF_TESTS: dict[str, Check] = {
    f"self-test on {name}": functools.partial(self_test, name.lower())
    for name in ("Lightning", "Detectron2")
}


def main(host: str, folder: str) -> None:
    """Train, save, resume, evaluate, load and export a tiny model; print what was done.

    Args:
        host: "lightning" or "detectron2".
        folder: an empty folder.
    """
    from retina_plugin.cli.command import main as retina
    from retina_plugin.engine.launch import host_of, train

    cfg = host_of(host).get_cfg()
    data = _write_data(folder)
    output = os.path.join(folder, "out")
    options = {**MODEL, "DATASETS.TRAIN": (data,), "DATASETS.TEST": (), "OUTPUT_DIR": output}
    cfg.merge_from_list([word for pair in options.items() for word in pair])
    cfg.SOLVER.MAX_ITER = STEPS
    train(cfg, host=host)
    cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST = 2 * STEPS, (data,)
    train(cfg, host=host, resume=True)
    _load(output)
    exported = os.path.join(folder, "model.pt")
    retina(["export", output, "--format", "torchscript", "--output", exported])
    print("trained, saved, resumed, evaluated, loaded and exported a tiny model", flush=True)


def _write_data(folder: str) -> str:
    """Write four images with a square each; return the name of the data set."""
    import json

    from PIL import Image

    images, annotations = [], []
    for number in range(1, 5):
        name, corner = f"{number}.png", 4 * number
        image = Image.new("RGB", (SIDE, SIDE), (90, 90, 90))
        image.paste((220, 60, 40), (corner, corner, corner + 32, corner + 32))
        image.save(os.path.join(folder, name))
        images.append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
        box = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 1024}
        annotations.append({**box, "bbox": [corner, corner, 32, 32]})
    categories = [{"id": 1, "name": "square"}]
    path = os.path.join(folder, "annotations.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)
    return f"{path}@{folder}"


def _load(folder: str) -> Any:
    """Load the model of the run as a user does, and detect in an image of zeros."""
    import torch

    import retina_plugin

    cfg = retina_plugin.get_cfg()
    cfg.merge_from_file(os.path.join(folder, "config.yaml"))
    model = retina_plugin.build_model(cfg)
    retina_plugin.load_weights(model, os.path.join(folder, "model_final.pth"))
    return model.predict([torch.zeros(3, SIDE, SIDE)])


if __name__ == "__main__":
    main(*sys.argv[1:])
