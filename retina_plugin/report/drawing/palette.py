"""The colour and line style of each class, the same in every picture."""

from __future__ import annotations

from typing import NamedTuple

Colour = tuple[int, int, int]

DARK, BRIGHT = (0, 0, 0), (255, 255, 255)
# Ten hues that are not dark, with the saturation and brightness that a search found: the smallest
# distance in CIELAB is 44 for normal, 29 for protanopic and 29 for deuteranopic vision.
PALETTE: tuple[Colour, ...] = (
    (204, 0, 0),  # red
    (102, 170, 255),  # light blue
    (97, 242, 142),  # green
    (255, 247, 0),  # yellow
    (133, 80, 153),  # violet
    (255, 148, 48),  # orange
    (77, 243, 255),  # cyan
    (255, 121, 169),  # pink
    (38, 78, 255),  # blue
    (130, 91, 78),  # brown
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
