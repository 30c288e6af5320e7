"""Write the folder of a run that has ended, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.scenes import write_run

NAME = "<script>alert('class')</script>"
LONG = f"nothing\n{'long' * 50}"


def write_finished_run(folder: Path, root: Path, *, seed: int = 0) -> Path:
    """Write a run with a test set of six images, detections near most of its boxes and some wrong
    ones, and metrics; return its folder.

    The first class has the name :data:`NAME`, and the last one :data:`LONG`.
    """
    config = Path(write_run(folder, root))
    for part in ("train", "test"):
        path = folder / part / "annotations.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["categories"][0]["name"], content["categories"][2]["name"] = NAME, LONG
        path.write_text(json.dumps(content), encoding="utf-8")
    out = folder / "out"
    (out / "inference").mkdir(parents=True)
    (out / "config.yaml").write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    write_results(out, _detections(content, seed))
    write_metrics(out)
    return out


def write_results(out: Path, results: list[dict[str, Any]]) -> Path:
    path = out / "inference/coco_instances_results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    return path


def _detections(content: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Return a detection near each box but every fifth, of which some have another class, and two
    far from every box."""
    rng = np.random.default_rng(seed)
    results = []
    for number, annotation in enumerate(content["annotations"]):
        if number % 5:
            category = 7 if number % 7 == 1 else annotation["category_id"]
            moved = (np.array(annotation["bbox"]) + rng.normal(0, 1.5, 4)).clip(1).tolist()
            results.append(_result(annotation["image_id"], category, moved, rng.uniform(0.4, 1)))
    results.append(_result(2, 3, [5, 5, 20, 20], 0.97))
    results.append(_result(4, 7, [1, 1, 9, 9], 0.3))
    return results


def _result(image: int, category: int, bbox: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": float(score)}


def write_metrics(out: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"iteration": step - 1, "total_loss": 4 / step, "loss_cls": 3 / step, "time": 0.5}
        for step in (10, 20, 30, 40)
    ]
    lines += [
        {"iteration": step - 1, "bbox/AP": 30 + step, "validation/total_loss": 5 / step}
        for step in (20, 40)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (out / "metrics.json").write_text(text, encoding="utf-8")
