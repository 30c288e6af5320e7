"""Draw images with boxes as SVG: a small JPEG with rectangles over it that the page can filter."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from retina_plugin.report.page.html import Html, join, tag

LONGEST = 480  # pixels of the longer side of an image
QUALITY = 78  # of JPEG
GAP = 6  # pixels between two pictures
PLAIN, GOOD, BAD = "plain", "good", "bad"


class Box(NamedTuple):
    """A rectangle in a picture.

    Attributes:
        corners: XYXY in pixels of the original image.
        text: its label.
        kind: PLAIN, GOOD or BAD.
        title: text of the tooltip.
        data: values for the filters of the page, {name: value}.
    """

    corners: Sequence[float]
    text: str
    kind: str
    title: str
    data: dict[str, str]


class Picture(NamedTuple):
    """A JPEG as a data address, its size in pixels, and its size divided by the original's."""

    address: str
    width: int
    height: int
    factor: float


def picture_of(image: np.ndarray) -> Picture:
    """Return a small version of an image (H, W, 3) uint8."""
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    buffer = io.BytesIO()
    small = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC)
    small.save(buffer, format="JPEG", quality=QUALITY)
    address = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(address, *size, factor)


def drawing(picture: Picture, panels: Sequence[Sequence[Box]], *, title: str, name: str) -> Html:
    """Draw an image once for each panel, side by side, each with its boxes.

    Args:
        picture: the image.
        panels: the boxes of each panel.
        title: read aloud instead of the picture.
        name: identifier in the page, which must be unique.
    """
    step = picture.width + GAP
    size = {"width": picture.width, "height": picture.height}
    parts: list[Html] = []
    for number, boxes in enumerate(panels):
        if number:
            parts.append(tag("use", href=f"#{name}", x=number * step))
        else:
            parts.append(tag("image", id=name, href=picture.address, **size))
        parts.append(tag("g", *_draw(boxes, picture), transform=f"translate({number * step} 0)"))
    width = len(panels) * step - GAP
    return tag(
        "svg",
        *parts,
        viewbox=f"0 0 {width} {picture.height}",
        role="img",
        aria_label=title,
        class_="picture",
    )


def _draw(boxes: Sequence[Box], picture: Picture) -> Iterator[Html]:
    for box in boxes:
        x0, y0, x1, y1 = (float(v) * picture.factor for v in box.corners)
        size = {"width": f"{max(x1 - x0, 1):.1f}", "height": f"{max(y1 - y0, 1):.1f}"}
        data = {f"data_{key}": value for key, value in box.data.items()}
        yield tag(
            "g",
            tag("title", box.title),
            tag("rect", x=f"{x0:.1f}", y=f"{y0:.1f}", class_="under", **size),
            tag("rect", x=f"{x0:.1f}", y=f"{y0:.1f}", **size),
            tag("text", box.text, x=f"{x0 + 2:.1f}", y=f"{max(y0 - 3, 9):.1f}"),
            class_=f"box {box.kind}",
            **data,
        )


def enlargeable(content: Html, label: str) -> Html:
    """Put a picture into a button that shows it large."""
    return tag("button", content, type="button", class_="enlarge", aria_label=f"enlarge {label}")


def figure(content: Html, *caption: Html | str, label: str) -> Html:
    """Build a figure whose picture can be enlarged."""
    return tag("figure", enlargeable(content, label), tag("figcaption", join(*caption)))
