"""Warn about class names that no font of the system can show."""

from __future__ import annotations

import functools
import logging
import unicodedata

from retina_plugin.report.drawing.runs import missing_characters

logger = logging.getLogger("retina_plugin")

# words in the names of characters -> font, package of Debian and Ubuntu
FONTS = {
    ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"): ("Noto Sans CJK", "fonts-noto-cjk"),
}
OTHER = "Noto Sans", "fonts-noto-core"
EMOJI = "Noto Color Emoji", "fonts-noto-color-emoji"


@functools.lru_cache(maxsize=64)
def warn_missing(class_names: tuple[str, ...]) -> None:
    """Log one warning about all characters of the names that no font has.

    It names the first such character and class, and the font to install.
    """
    missing = {
        i: found for i, name in enumerate(class_names) if (found := missing_characters(name))
    }
    if not missing:
        return
    first = next(iter(missing))
    character = missing[first][0]
    font, package = _advice(character)
    logger.warning(
        "class %d, %r: no font of this system has %r (U+%04X, %s), and pictures show its code "
        "instead. Names with such characters: %d of %d. Install a font that has it, such as %s "
        "(on Debian and Ubuntu: apt install %s), or put the font's file into your folder of fonts "
        "(on Linux: ~/.local/share/fonts).",
        first,
        class_names[first],
        character,
        ord(character),
        unicodedata.name(character, "without a name"),
        len(missing),
        len(class_names),
        font,
        package,
    )


def _advice(character: str) -> tuple[str, str]:
    name = unicodedata.name(character, "")
    for words, font in FONTS.items():
        if name.startswith(words):
            return font
    return EMOJI if unicodedata.category(character) == "So" else OTHER
