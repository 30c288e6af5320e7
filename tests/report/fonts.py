"""Tiny fonts: one with squares for some characters, one of bitmaps as colour emoji."""

from __future__ import annotations

import io
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import newTable
from fontTools.ttLib.tables.sbixGlyph import Glyph
from fontTools.ttLib.tables.sbixStrike import Strike
from PIL import Image

BITMAP = 32  # pixels
RED = (255, 0, 0)


def _builder(characters: str) -> FontBuilder:
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square" for character in characters})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Tiny", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    return builder


def write_font(path: Path, characters: str) -> None:
    """Write a font in which each character is a black square of 1 em."""
    builder = _builder(characters)
    pen = TTGlyphPen(None)
    pen.moveTo((0, -200))
    for point in ((1000, -200), (1000, 800), (0, 800)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.save(path)


def write_emoji_font(path: Path, characters: str) -> None:
    """Write a font in which each character is a red bitmap of 32 x 32 pixels."""
    builder = _builder(characters)
    builder.setupMaxp()
    png = io.BytesIO()
    Image.new("RGBA", (BITMAP, BITMAP), (*RED, 255)).save(png, "PNG")
    strike = Strike(ppem=BITMAP, resolution=72)
    strike.glyphs[".notdef"] = Glyph(glyphName=".notdef")
    strike.glyphs["square"] = Glyph(
        glyphName="square",
        graphicType="png ",
        imageData=png.getvalue(),
        originOffsetX=0,
        originOffsetY=0,
    )
    table = newTable("sbix")
    table.version, table.flags, table.numStrikes, table.strikes = 1, 1, 1, {BITMAP: strike}
    builder.font["sbix"] = table
    builder.save(path)
