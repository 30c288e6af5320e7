"""Find a font for each character among the fonts of the system."""

from __future__ import annotations

import functools
import os
import struct
from typing import NamedTuple

import matplotlib
from fontTools.ttLib import TTFont, TTLibError
from matplotlib.font_manager import findSystemFonts
from PIL import ImageFont

DEFAULT = "DejaVuSans.ttf"  # from matplotlib; it covers most alphabets, but no Asian scripts
# words in file names of fonts that fit badly beside the default font
UNUSUAL = (
    "bold", "italic", "oblique", "mono", "serif", "condensed", "thin", "light", "black", "heavy",
    "medium", "display", "narrow",
)  # fmt: skip
NO_FONT = "lastresort"  # claims all characters and has a frame for each
BROKEN = (TTLibError, OSError, LookupError, AssertionError, ValueError, struct.error)


class Face(NamedTuple):
    """A font in a file: the path, and its number in a collection."""

    path: str
    number: int = 0


@functools.cache
def default_face() -> Face:
    """Return DejaVu Sans, which comes with matplotlib."""
    return Face(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", DEFAULT))


@functools.cache
def system_faces() -> tuple[Face, ...]:
    """Return the first face of each font file of the system, plain sans-serif fonts first."""
    paths = [path for path in findSystemFonts() if NO_FONT not in os.path.basename(path).lower()]
    return tuple(Face(path) for path in sorted(paths, key=_preference))


def _preference(path: str) -> tuple[int, str]:
    name = os.path.basename(path).lower().replace("sansserif", "sans")
    return sum(word in name for word in UNUSUAL) - ("sans" in name), path


@functools.cache
def characters(face: Face) -> frozenset[int]:
    """Return the code points of a font; none if the file is broken, as some on every system are."""
    try:
        with TTFont(face.path, fontNumber=face.number, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except BROKEN:
        return frozenset()


@functools.cache
def face_of(character: str) -> Face | None:
    """Return a font with a character: the default font, else a font of the system, else None."""
    faces = (default_face(), *system_faces())
    return next((face for face in faces if ord(character) in characters(face)), None)


class Font(NamedTuple):
    """A font to draw with.

    Attributes:
        pillow: the font.
        scale: factor of the size of drawn text; below 1 only for fonts of bitmaps of one size.
    """

    pillow: ImageFont.FreeTypeFont
    scale: float


@functools.cache
def load_font(face: Face, size: int) -> Font:
    """Load a font for text of a size in pixels."""
    try:
        font = ImageFont.truetype(face.path, size, index=face.number)
    except OSError:
        bitmaps = _bitmap_size(face)
        return Font(ImageFont.truetype(face.path, bitmaps, index=face.number), size / bitmaps)
    _choose_regular(font)
    return Font(font, 1.0)


def _choose_regular(font: ImageFont.FreeTypeFont) -> None:
    """Set a variable font to its regular weight; the default of Noto Sans CJK is thin."""
    try:
        names = font.get_variation_names()
    except OSError:  # not a variable font
        return
    if b"Regular" in names:
        font.set_variation_by_name("Regular")


def _bitmap_size(face: Face) -> int:
    """Return the largest size of a font of bitmaps, as colour emoji are.

    Raises:
        TTLibError: the font has no bitmaps.
    """
    with TTFont(face.path, fontNumber=face.number, lazy=True) as font:
        if "sbix" in font:
            return int(max(font["sbix"].strikes))
        if "CBLC" in font:
            return max(int(strike.bitmapSizeTable.ppemY) for strike in font["CBLC"].strikes)
    raise TTLibError(f"font {face.path} can be drawn in no size")
