"""A strip below a picture that shows which class has which colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.report.drawing.tags import make_tag, render_tag

BACKGROUND = 232  # gray, on which a white stripe is visible
NARROWEST = 160  # pixels
GAP = 4  # pixels


def legend(
    classes: Sequence[int], class_names: Sequence[str], width: int, *, size: int
) -> np.ndarray:
    """Draw the labels of classes in rows.

    Args:
        classes: numbers of the classes; at least one.
        class_names: K names.
        width: of the strip in pixels; narrower ones than 160 become 160.
        size: of the text in pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = max(width, NARROWEST)
    rows: list[list[np.ndarray]] = [[]]
    used = GAP
    for label in classes:
        tag = render_tag(
            make_tag(class_names[label], label, "", size=size, max_width=width - 2 * GAP)
        )[:, : width - 2 * GAP]
        if rows[-1] and used + tag.shape[1] + GAP > width:
            rows.append([])
            used = GAP
        rows[-1].append(tag)
        used += tag.shape[1] + GAP
    height = rows[0][0].shape[0] + GAP
    strip = np.full((len(rows) * height + GAP, width, 3), BACKGROUND, dtype=np.uint8)
    for number, row in enumerate(rows):
        x, y = GAP, GAP + number * height
        for tag in row:
            strip[y : y + tag.shape[0], x : x + tag.shape[1]] = tag
            x += tag.shape[1] + GAP
    return strip


def add_below(image: np.ndarray, strip: np.ndarray) -> np.ndarray:
    """Put a strip below an image (H, W, 3); the narrower one is filled up with gray."""
    width = max(image.shape[1], strip.shape[1])
    parts = [
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=BACKGROUND)
        for part in (image, strip)
    ]
    return np.concatenate(parts)
