"""Draw ground truth beside detections, for one image or a grid of images."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.config.files import write_atomically
from retina_plugin.data import Dataset, read_record
from retina_plugin.data.coco_ids import IdMatcher
from retina_plugin.report.drawing import LabelMode, draw_with_legend, resize_for_display
from retina_plugin.report.drawing.palette import DARK
from retina_plugin.report.drawing.text import make_line, render_line

CAPTION = 14  # size of text, pixels
GAP = 6  # pixels between images
MARGIN = 2  # pixels around captions
BACKGROUND = (255, 255, 255)
OPTIONS: dict[str, dict[str, int]] = {
    "JPEG": {"quality": 92, "subsampling": 0},  # subsampling would blur coloured lines and text
    "PNG": {"compress_level": 4},  # half the time of Pillow's default for files of equal size
}


def results_by_image(
    dataset: Dataset, results: Sequence[Mapping[str, Any]], threshold: float
) -> dict[Any, list[dict[str, Any]]]:
    """Group COCO results by image.

    Args:
        dataset: the data set that the results belong to.
        results: results in COCO's format; ids may be text or numbers, as "7" and 7.0 for 7.
        threshold: results with a lower score are dropped.

    Returns:
        {image id: [{"bbox" XYXY, "category_id" contiguous, "score"}]}.

    Raises:
        ValueError: the data set does not have some image or category ids of the results.
    """
    index = {coco_id: i for i, coco_id in enumerate(dataset.category_ids)}
    image_of, category_of = IdMatcher(r["image_id"] for r in dataset.records), IdMatcher(index)
    results = [
        {**r, "image_id": image_of(r["image_id"]), "category_id": category_of(r["category_id"])}
        for r in results
    ]
    unknown_images = {r["image_id"] for r in results} - image_of.ids
    unknown_classes = {r["category_id"] for r in results} - set(index)
    if unknown_images or unknown_classes:
        raise ValueError(
            f"results do not belong to data set {dataset.name}: {len(unknown_images)} image ids "
            f"{sorted(unknown_images, key=str)[:3]} "
            f"and {len(unknown_classes)} category ids {sorted(unknown_classes, key=str)[:3]} are "
            f"not in {dataset.json_file}"
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
    ground_truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    *,
    class_names: Sequence[str],
    caption: str,
    max_side: int | None = None,
    label_mode: LabelMode = "auto",
) -> np.ndarray:
    """Draw ground truth on the left and detections on the right, with a caption above each.

    Args:
        image: (H, W, 3) uint8 RGB; small images are enlarged.
        ground_truth: {"bbox" XYXY, "category_id"} of each box, optionally with "iscrowd".
        found: {"bbox" XYXY, "category_id", "score"} of each detection.
        class_names: K names.
        caption: caption of the left half, such as the file name.
        max_side: the longer side of each half has at most this many pixels; None for no limit.
        label_mode: see :func:`retina_plugin.report.draw_boxes`.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    halves = []
    for entries, title in (
        (ground_truth, (caption, f": {len(ground_truth)} true")),
        (found, ("", f"{len(found)} found")),
    ):
        scaled, boxes = resize_for_display(
            image, [e["bbox"] for e in entries], min_side=300, max_side=max_side
        )
        drawn = draw_with_legend(
            scaled,
            boxes,
            [e["category_id"] for e in entries],
            class_names=class_names,
            scores=[e["score"] for e in entries] if entries is found else None,
            crowd=[bool(e.get("iscrowd")) for e in entries],
            label_mode=label_mode,
        )
        halves.append(_add_caption(drawn, *title))
    return _beside(halves[0], halves[1])


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two images side by side; the lower one is filled up with white."""
    height = max(left.shape[0], right.shape[0])
    canvas = np.full((height, left.shape[1] + GAP + right.shape[1], 3), BACKGROUND, dtype=np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] + GAP :] = right
    return canvas


def _add_caption(image: np.ndarray, text: str, ending: str = "") -> np.ndarray:
    """Put text above an image; it is shortened to the width of the image, but not its ending."""
    width = image.shape[1]
    tail = make_line(ending, CAPTION)
    line = make_line(text, CAPTION, max(width - 2 * MARGIN - tail.width, 2 * CAPTION))
    parts = [render_line(part, DARK, BACKGROUND) for part in (line, tail)]
    strip = np.full((parts[0].shape[0] + 2 * MARGIN, width, 3), BACKGROUND, dtype=np.uint8)
    x = MARGIN
    for part in parts:
        target = strip[MARGIN:-MARGIN, x : x + part.shape[1]]  # narrower if the image is
        target[:] = part[:, : target.shape[1]]
        x += part.shape[1]
    return np.concatenate([strip, image])


def prediction_grid(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    *,
    max_images: int = 8,
    score_threshold: float = 0.4,
    columns: int = 2,
    options: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Draw a grid of :func:`side_by_side` images, chosen evenly over the data set.

    Args:
        dataset: a data set with at least one image.
        results: results in COCO's format.
        max_images: largest number of images in the grid.
        score_threshold: detections with a lower score are not shown.
        columns: number of columns.
        options: arguments for reading images, see :func:`retina_plugin.data.image_options`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    found = results_by_image(dataset, results, score_threshold)
    chosen = (
        np.linspace(0, len(dataset.records) - 1, min(max_images, len(dataset.records)))
        .round()
        .astype(int)
    )
    cells = [
        side_by_side(
            read_record(record, **(options or {})),
            record["annotations"],
            found[record["image_id"]],
            class_names=dataset.class_names,
            caption=os.path.basename(record["file_name"]),
            max_side=480,
        )
        for record in (dataset.records[i] for i in chosen)
    ]
    headline = (
        f"{dataset.name}: ground truth on the left, detections of at least {score_threshold:.0%} "
        "on the right"
    )
    return _add_caption(_tile(cells, columns), headline)


def _tile(cells: list[np.ndarray], columns: int) -> np.ndarray:
    """Arrange cells of different sizes in columns that are as wide as the widest cell."""
    width = max(cell.shape[1] for cell in cells) + 2 * GAP
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) + 2 * GAP for row in rows]
    grid = np.full((sum(heights), min(columns, len(cells)) * width, 3), BACKGROUND, dtype=np.uint8)
    for row, top in zip(rows, np.cumsum([0, *heights]), strict=False):
        for column, cell in enumerate(row):
            left = column * width + GAP
            grid[top + GAP : top + GAP + cell.shape[0], left : left + cell.shape[1]] = cell
    return grid


def write_image(path: str, image: np.ndarray) -> None:
    """Write an image file atomically.

    Args:
        path: the suffix sets the format, such as ".png".
        image: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: Pillow cannot write a format with this suffix.
        DiskError: the file cannot be written.
    """
    suffix, buffer = os.path.splitext(path)[1].lower(), io.BytesIO()
    known = Image.registered_extensions()
    if known.get(suffix) not in Image.SAVE:
        raise ValueError(f"{path}: expected the ending of an image, such as .jpg or .png")
    Image.fromarray(image).save(buffer, format=known[suffix], **OPTIONS.get(known[suffix], {}))
    write_atomically(path, buffer.getvalue())
