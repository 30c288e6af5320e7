"""What is subtracted from the corners of Pascal VOC files, which count pixels from 1."""

from __future__ import annotations

KEY = "MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET"
# what is subtracted from xmin and ymin, and from xmax and ymax
OFFSETS = {"minima": (1.0, 0.0), "all": (1.0, 1.0), "none": (0.0, 0.0)}
_used = {"offset": "minima"}


def use_voc_offset(text: str) -> None:
    """Read the boxes of all Pascal VOC files of this process with this offset; hosts and tools
    call it with the config's.

    Args:
        text: "minima", "all" or "none".

    Raises:
        ValueError: another word.
    """
    if text not in OFFSETS:
        raise ValueError(f"{KEY}: expected one of {', '.join(OFFSETS)}, found {text!r}")
    _used["offset"] = text


def voc_offset() -> str:
    """Return the word that :func:`use_voc_offset` was called with."""
    return _used["offset"]
