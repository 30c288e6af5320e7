"""Train, save, resume, load and export a tiny model; the process of
:mod:`retina_plugin.cli.self_test`."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING

from retina_plugin.cli.self_test import HOSTS, RESULT, failed, packages_of
from retina_plugin.engine.doctor.finding import OK, Finding, describe_error
from retina_plugin.engine.doctor.imports import cure_of
from retina_plugin.export.file_kind import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.FPN.NORM": "GN",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32]],
    "MODEL.RETINANET.IN_FEATURES": ["p2", "p3"],
    "MODEL.RETINANET.NUM_CLASSES": -1,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.001,  # so that there are detections to compare
    "MODEL.RETINA_PLUGIN.NECK.LEVELS": 2,
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": 4,
    "MODEL.RETINA_PLUGIN.TEST.REPORT": False,
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.MIN_SIZE_TRAIN": (SIDE,),
    "INPUT.MIN_SIZE_TEST": SIDE,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.STEPS": (),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.CHECKPOINT_PERIOD": STEPS,
    "SEED": 1,
}


def main(folder: str, tests: Sequence[str]) -> None:
    """Run tests; print a line with the finding of each.

    Args:
        folder: an empty folder, or that of an earlier call.
        tests: hosts, and formats of exported files.
    """
    for test in tests:
        start = time.monotonic()
        try:
            done = _train(test, folder) if test in HOSTS else _export(test, folder)
        # libraries that do not fit together may raise anything
        except Exception as error:
            traceback.print_exc()
            finding = failed(test, describe_error(error), cure_of(error, packages_of(test)))
        else:
            finding = Finding(OK, f"{done}: {time.monotonic() - start:.1f} s")
        print(f"\n{RESULT}{json.dumps([test, *finding])}", flush=True)


def _train(host: str, folder: str) -> str:
    """Train, save, resume, evaluate and load a tiny model; return what was done."""
    from retina_plugin.engine.launch import host_of, train

    cfg = host_of(host).get_cfg()
    data = _write_data(os.path.join(folder, f"data_{host}"))
    output = os.path.join(folder, host)
    options = {**MODEL, "DATASETS.TRAIN": (data,), "DATASETS.TEST": (), "OUTPUT_DIR": output}
    cfg.merge_from_list([word for pair in options.items() for word in pair])
    cfg.SOLVER.MAX_ITER = STEPS
    train(cfg, host=host)
    cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST = 2 * STEPS, (data,)
    train(cfg, host=host, resume=True)
    _load(output)
    return "trained, saved, resumed, evaluated and loaded a tiny model"


def _export(format: str, folder: str) -> str:
    """Export the model of a host, which compares the file with the model; return what was done.

    Raises:
        RuntimeError: no host has trained a model.
    """
    from retina_plugin.cli.command import main as retina

    runs = [os.path.join(folder, host) for host in HOSTS]
    run = next((x for x in runs if os.path.isfile(os.path.join(x, "model_final.pth"))), None)
    if run is None:
        raise RuntimeError("no host has trained a model that could be exported")
    output = os.path.join(folder, f"model{ENDINGS[format]}")
    retina(["export", run, "--format", format, "--output", output])
    return "exported a tiny model, and compared the file with it"


def _write_data(folder: str) -> str:
    """Write four images with a square each; return the name of the data set."""
    from PIL import Image

    os.makedirs(folder)
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


def _load(folder: str) -> None:
    """Load the model of the run as a user does, and detect in an image of zeros."""
    import torch

    import retina_plugin

    cfg = retina_plugin.get_cfg()
    cfg.merge_from_file(os.path.join(folder, "config.yaml"))
    model = retina_plugin.build_model(cfg)
    retina_plugin.load_weights(model, os.path.join(folder, "model_final.pth"))
    model.predict([torch.zeros(3, SIDE, SIDE)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
