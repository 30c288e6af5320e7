"""A small COCO data set with crowds, empty images and id gaps, and a config that trains in
seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = {3: "square", 7: "bar", 20: "nothing"}  # ids with gaps; the last one never occurs
COLOURS = {3: (230, 40, 40), 7: (40, 80, 230)}
SIDES = {3: (26, 26), 7: (18, 40)}  # height, width


def write_scenes(folder: Path, *, count: int, seed: int) -> str:
    """Write ``count`` images of 64 x 80 or 80 x 64 pixels below ``folder`` and return the name
    ``annotations.json@image_folder``.

    The second image has no box; the third one has a crowd besides its boxes.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        shape = (64, 80) if number % 3 else (80, 64)
        scene = rng.normal(128, 12, (*shape, 3)).clip(0, 255).astype(np.uint8)
        if number != 2:
            annotations += [_draw(scene, category, number, rng) for category in COLOURS]
        if number == 3:
            annotations.append(
                {"image_id": number, "category_id": 3, "bbox": [0, 0, 30, 20], "iscrowd": 1}
            )
        Image.fromarray(scene).save(folder / "images" / f"{number:03d}.png")
        images.append(
            {"id": number, "file_name": f"{number:03d}.png", "height": shape[0], "width": shape[1]}
        )
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    categories = [{"id": coco_id, "name": name} for coco_id, name in CLASSES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return f"{folder / 'annotations.json'}@{folder / 'images'}"


def _draw(scene: np.ndarray, category: int, image: int, rng: np.random.Generator) -> dict[str, Any]:
    height, width = SIDES[category]
    top, left = (
        int(rng.integers(scene.shape[0] - height)),
        int(rng.integers(scene.shape[1] - width)),
    )
    scene[top : top + height, left : left + width] = COLOURS[category]
    return {"image_id": image, "category_id": category, "bbox": [left, top, width, height]}


CONFIG = """
_BASE_: "{root}/configs/Base-RetinaNet.yaml"
MODEL:
  DEVICE: "cpu"
  BACKBONE: {{FREEZE_AT: 0}}
  PIXEL_STD: [57.375, 57.12, 58.395]
  RESNETS: {{DEPTH: 18, NORM: "GN", STEM_OUT_CHANNELS: 8, RES2_OUT_CHANNELS: 8}}
  FPN: {{OUT_CHANNELS: 16, NORM: "GN"}}
  ANCHOR_GENERATOR: {{SIZES: [[24, 34], [48, 60]], ASPECT_RATIOS: [[0.5, 1.0]]}}
  RETINANET:
    {{NUM_CLASSES: -1, IN_FEATURES: ["p3", "p4"], NUM_CONVS: 1,
     NORM: "GN", SCORE_THRESH_TEST: 0.01}}
  RETINA_PLUGIN: {{NORM_GROUPS: 4, OPTIMIZER: "AdamW", TEST: {{REPORT: False}}}}
DATASETS: {{TRAIN: ["{train}"], TEST: ["{test}"]}}
DATALOADER: {{NUM_WORKERS: 0, FILTER_EMPTY_ANNOTATIONS: False}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
SOLVER:
  {{IMS_PER_BATCH: 4, BASE_LR: 0.01, STEPS: [], MAX_ITER: 40,
   WARMUP_ITERS: 30, CHECKPOINT_PERIOD: 100}}
OUTPUT_DIR: "{folder}/out"
SEED: 1
"""


def write_run(folder: Path, root: Path) -> str:
    """Write a training set, a test set and ``config.yaml`` below ``folder``; return the path of the
    config.

    ``OUTPUT_DIR`` is ``folder/out``.
    """
    train = write_scenes(folder / "train", count=12, seed=0)
    test = write_scenes(folder / "test", count=6, seed=1)
    text = CONFIG.format(root=root, folder=folder, train=train, test=test)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return str(folder / "config.yaml")
