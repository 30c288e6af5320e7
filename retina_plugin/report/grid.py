"""Truth beside detections: one image, or a grid of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from retina_plugin.data import Dataset, read_image
from retina_plugin.report.draw import draw_boxes, enlarge, font

CAPTION = 22  # pixels
GAP = 6
PAPER = (255, 255, 255)


def results_by_image(
    dataset: Dataset, results: Sequence[Mapping[str, Any]], threshold: float
) -> dict[Any, list[dict[str, Any]]]:
    """COCO results -> image id -> [{"bbox" XYXY, "category_id" contiguous, "score"}] of at least ``threshold``.

    Raises:
        ValueError: image or category ids that the data set does not have; both are counted.
    """
    images = {record["image_id"] for record in dataset.records}
    index = {coco_id: i for i, coco_id in enumerate(dataset.category_ids)}
    strange_images = {r["image_id"] for r in results} - images
    strange_classes = {r["category_id"] for r in results} - set(index)
    if strange_images or strange_classes:
        raise ValueError(
            f"results do not belong to data set {dataset.name}: {len(strange_images)} image ids {sorted(strange_images)[:3]} and "
            f"{len(strange_classes)} category ids {sorted(strange_classes)[:3]} are not in {dataset.json_file}"
        )
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        if result["score"] >= threshold:
            x, y, width, height = result["bbox"]
            entry = {
                "bbox": [x, y, x + width, y + height],
                "category_id": index[result["category_id"]],
                "score": result["score"],
            }
            found[result["image_id"]].append(entry)
    return found


def side_by_side(
    image: np.ndarray,
    truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    *,
    class_names: Sequence[str],
    caption: str,
) -> np.ndarray:
    """Truth on the left, detections on the right, a caption above each.

    Args:
        image: (H, W, 3) uint8 RGB; small ones are enlarged.
        truth: {"bbox" XYXY, "category_id"} of each box, "iscrowd" if it has it.
        found: the same with "score".
        class_names: K names.
        caption: of the left half, such as the file name.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    halves = []
    for entries, title in ((truth, f"{caption}: {len(truth)} true"), (found, f"{len(found)} found")):
        large, boxes = enlarge(image, np.array([e["bbox"] for e in entries]), least=300)
        drawn = draw_boxes(
            large,
            boxes,
            [e["category_id"] for e in entries],
            class_names=class_names,
            scores=[e["score"] for e in entries] if entries is found and entries else None,
            crowd=[bool(e.get("iscrowd")) for e in entries],
        )
        halves.append(_captioned(drawn, title))
    gap = np.full((halves[0].shape[0], GAP, 3), PAPER, dtype=np.uint8)
    return np.concatenate([halves[0], gap, halves[1]], axis=1)


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    strip = Image.new("RGB", (image.shape[1], CAPTION), PAPER)
    letters = font(14)
    while len(text) > 8 and letters.getlength(text) > image.shape[1] - 4:
        text = "…" + text[2:]
    ImageDraw.Draw(strip).text((2, 2), text, fill=(0, 0, 0), font=letters)
    return np.concatenate([np.asarray(strip), image])


def prediction_grid(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    *,
    max_images: int = 8,
    score_threshold: float = 0.4,
    columns: int = 2,
) -> np.ndarray:
    """A grid of :func:`side_by_side` pictures, chosen evenly over the data set.

    Args:
        dataset: with at least one image.
        results: in COCO's format.
        max_images: in the grid.
        score_threshold: detections below are not shown.
        columns: of the grid.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    found = results_by_image(dataset, results, score_threshold)
    chosen = np.linspace(0, len(dataset.records) - 1, min(max_images, len(dataset.records))).round().astype(int)
    cells = []
    for record in (dataset.records[i] for i in chosen):
        name = os.path.basename(record["file_name"])
        image, here = read_image(record["file_name"]), found[record["image_id"]]
        cells.append(side_by_side(image, record["annotations"], here, class_names=dataset.class_names, caption=name))
    headline = f"{dataset.name}: truth on the left, detections above {score_threshold:.0%} on the right"
    return _captioned(_tiled(cells, columns), headline)


def _tiled(cells: list[np.ndarray], columns: int) -> np.ndarray:
    """Cells of different sizes on white paper, each scaled to the width of the first."""
    width = cells[0].shape[1]
    cells = [_to_width(cell, width) for cell in cells]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    paper = Image.new("RGB", (min(columns, len(cells)) * (width + 2 * GAP), sum(heights) + 2 * GAP * len(rows)), PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            paper.paste(Image.fromarray(cell), (column * (width + 2 * GAP) + GAP, top + GAP))
        top += height + 2 * GAP
    return np.asarray(paper)


def _to_width(image: np.ndarray, width: int) -> np.ndarray:
    if image.shape[1] == width:
        return image
    height = round(image.shape[0] * width / image.shape[1])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def write_picture(path: str, image: np.ndarray) -> None:
    """Write a picture, its kind by the suffix of ``path``, whole or not at all."""
    root, suffix = os.path.splitext(path)
    Image.fromarray(image).save(f"{root}.part{suffix}")
    os.replace(f"{root}.part{suffix}", path)
