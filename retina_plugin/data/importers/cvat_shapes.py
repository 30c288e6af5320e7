"""Convert the shapes of CVAT's XML to boxes, and read its labels."""

from __future__ import annotations

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.csv_table import NUMBER
from retina_plugin.data.importers.shapes import Box, Point, ellipse_box, enclosing_box, rotated_box
from retina_plugin.data.importers.xml_file import Element

WITH_BOXES = ("box", "polygon", "ellipse", "cuboid", "mask")
LEFT_OUT = ("polyline", "points", "skeleton", "tag")
CUBOID = [f"{corner}{face}" for face in (1, 2) for corner in ("tl", "bl", "tr", "br")]


def label_names(root: Element) -> list[str]:
    """Return the labels of <meta> in order. Parts of skeletons are left out, as are labels of types
    without boxes, unless a shape with a box has the label."""
    holders = [*root.find_all("image"), *root.find_all("track")]
    used = {
        (shape.attributes | holder.attributes).get("label")
        for holder in holders
        for shape in holder.children
        if shape.tag in WITH_BOXES
    }
    names = [
        label.text_at("name")
        for meta in root.find_all("meta")
        for holder in meta.children  # task, job or project
        for label in holder.find_all("labels", "label")
        if not label.text_at("parent")
        and (label.text_at("type") not in LEFT_OUT or label.text_at("name") in used)
    ]
    return [name for name in dict.fromkeys(names) if name]


def box_of(shape: Element, collector: Collector) -> Box | None:
    """Return the box of a shape; None, with a note, for shapes without area.

    Raises:
        DatasetError: the shape is unknown, or a coordinate is missing or not a number.
    """
    if shape.tag in LEFT_OUT:
        collector.note(f"shapes <{shape.tag}> were left out", shape.place)
        return None
    angle = _number(shape, "rotation") if "rotation" in shape.attributes else 0.0
    if angle:
        collector.note("rotated shapes were replaced by their enclosing boxes", shape.place)
    if shape.tag == "box":
        left, top, right, bottom = (_number(shape, n) for n in ("xtl", "ytl", "xbr", "ybr"))
        center = ((left + right) / 2, (top + bottom) / 2)
        return rotated_box((left, top, right, bottom), angle, center)
    if shape.tag == "ellipse":
        center = (_number(shape, "cx"), _number(shape, "cy"))
        return ellipse_box(center, (_number(shape, "rx"), _number(shape, "ry")), angle)
    if shape.tag == "polygon":
        return enclosing_box(_points(shape))
    if shape.tag == "mask":  # the file has the enclosing box of the mask
        left, top, width, height = (_number(shape, n) for n in ("left", "top", "width", "height"))
        return left, top, left + width, top + height
    if shape.tag == "cuboid":
        collector.note("cuboids were replaced by their enclosing boxes", shape.place)
        return enclosing_box([(_number(shape, f"x{c}"), _number(shape, f"y{c}")) for c in CUBOID])
    known = ", ".join((*WITH_BOXES, *LEFT_OUT))
    raise DatasetError(f"{shape.place}: expected one of {known}; found <{shape.tag:.80}>")


def whole_number(element: Element, name: str) -> int:
    """Return an attribute as a non-negative integer.

    Raises:
        DatasetError: the attribute is missing or not a non-negative integer.
    """
    text = element.attributes.get(name, "")
    if not text.isdecimal():
        raise DatasetError(
            f"{element.place}: expected a whole number as {name} of <{element.tag}>, found "
            f"{text!r:.80}"
        )
    return int(text)


def _number(shape: Element, name: str) -> float:
    text = shape.attributes.get(name, "").strip()
    if not NUMBER.fullmatch(text):
        raise DatasetError(
            f"{shape.place}: expected a number as {name} of <{shape.tag}>, found {text!r:.80}"
        )
    return float(text)


def _points(shape: Element) -> list[Point]:
    """Parse the attribute "points", "x0,y0;x1,y1;..."."""
    text = shape.attributes.get("points", "")
    pairs = [pair.split(",") for pair in text.split(";")]
    if not all(len(pair) == 2 and all(NUMBER.fullmatch(n.strip()) for n in pair) for pair in pairs):
        raise DatasetError(
            f"{shape.place}: expected points 'x,y;x,y;...' of <{shape.tag}>, found {text!r:.80}"
        )
    return [(float(x), float(y)) for x, y in pairs]
