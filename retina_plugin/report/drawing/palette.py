"""The colour and line style of each class, the same in every picture."""

from __future__ import annotations

from typing import NamedTuple

Colour = tuple[int, int, int]

DARK, BRIGHT = (0, 0, 0), (255, 255, 255)
# Found by a greedy search for the largest distance in CIELAB, for normal, protanopic and
# deuteranopic vision at the same time; tests/report/test_palette.py has the matrices.
PALETTE: tuple[Colour, ...] = (
    (255, 60, 60),
    (60, 150, 255),
    (70, 215, 70),
    (255, 205, 0),
    (200, 80, 255),
    (0, 225, 215),
    (255, 130, 0),
    (255, 150, 205),
    (60, 60, 230),
    (175, 110, 50),
)


class Style(NamedTuple):
    """How the boxes of a class are drawn.

    Attributes:
        colour: of the line and of the label.
        gaps: colour of the gaps of a dashed line; None for a solid line.
        dash: length of dash and gap, in multiples of a dash of the first dashed classes.
    """

    colour: Colour
    gaps: Colour | None = None
    dash: int = 1


def class_colour(label: int) -> Colour:
    """Return the main colour of a class, which is repeated after ``len(PALETTE)`` classes."""
    return PALETTE[label % len(PALETTE)]


def class_style(label: int) -> Style:
    """Return the style of a class; the first 230 classes have different ones.

    The first classes have a solid line in a colour of their own. Further ones repeat the colours
    with dashes, whose gaps are black, white, or another colour of the palette, and then the same
    with dashes of three times the length.
    """
    row, column = divmod(label, len(PALETTE))
    if row == 0:
        return Style(PALETTE[column])
    others = len(PALETTE) - 1
    longer, partner = divmod(row - 1, 2 + others)
    if partner < 2:
        gaps = (DARK, BRIGHT)[partner]
    else:
        gaps = PALETTE[(column + partner - 1) % len(PALETTE)]
    return Style(PALETTE[column], gaps, (1, 3)[longer % 2])


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever is easier to read on a background."""
    bright = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2] > 115
    return DARK if bright else BRIGHT
