"""The offset that is subtracted from the corners in Pascal VOC files, which count pixels from 1."""

from __future__ import annotations

from decimal import Context, Decimal

KEY = "MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET"
# value: (offset of xmin and ymin, offset of xmax and ymax)
OFFSETS = {"minima": (1.0, 0.0), "all": (1.0, 1.0), "none": (0.0, 0.0)}
# a float plus the offset needs more digits than a float has; these decimal numbers have enough
EXACT = Context(prec=700)
_used = {"offset": "minima"}


def add_offset(value: float, offset: float) -> str:
    """Return the text for a corner in an XML file. Reading it subtracts the offset again and gives
    the same float, whatever its size."""
    if value == int(value):
        return str(int(value) + int(offset))
    return f"{EXACT.add(Decimal(repr(float(value))), Decimal(offset)):f}"


def use_voc_offset(text: str) -> None:
    """Set the offset for all Pascal VOC files that this process reads later.

    Args:
        text: the config's value, "minima", "all" or "none".

    Raises:
        ValueError: the value is unknown.
    """
    if text not in OFFSETS:
        raise ValueError(f"{KEY}: expected one of {', '.join(OFFSETS)}, found {text!r}")
    _used["offset"] = text


def voc_offset() -> str:
    """Return the value that :func:`use_voc_offset` has set; "minima" at first."""
    return _used["offset"]
