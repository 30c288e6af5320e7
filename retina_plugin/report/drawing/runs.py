"""Split text into runs of characters that one font has."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from retina_plugin.report.drawing.fonts import Face, characters, default_face, face_of

ZERO_WIDTH_JOINER = "\u200d"
JOINERS = ("\u200c", ZERO_WIDTH_JOINER)


class Run(NamedTuple):
    """Characters that are drawn with one font."""

    text: str
    face: Face


def clean(text: str) -> str:
    """Return text as one line: white space becomes single spaces, other control characters and
    broken surrogates become "�", and marks of direction are dropped."""
    visible = []
    for character in re.sub(r"\s+", " ", text):
        category = unicodedata.category(character)
        if category in ("Cc", "Cs"):
            visible.append("\N{REPLACEMENT CHARACTER}")
        elif category != "Cf" or character in JOINERS:
            visible.append(character)
    return "".join(visible)


def clusters(text: str) -> list[str]:
    """Split text into characters with their marks, such as accents and the parts of an emoji."""
    found: list[str] = []
    for character in text:
        if found and (_is_mark(character) or found[-1][-1] == ZERO_WIDTH_JOINER):
            found[-1] += character
        else:
            found.append(character)
    return found


def _is_mark(character: str) -> bool:
    is_skin_colour = "\U0001f3fb" <= character <= "\U0001f3ff"
    return character in JOINERS or unicodedata.category(character)[0] == "M" or is_skin_colour


def split_runs(text: str) -> list[Run]:
    """Choose a font for each character; neighbours with the same font make a run.

    Characters that no font has are written as their codes, "[7EA2 7EC6]".
    """
    runs: list[Run] = []
    missing: list[str] = []
    for cluster in clusters(text):
        face = _face_of(cluster, runs)
        if face is None:
            missing += [f"{ord(character):04X}" for character in cluster]
            continue
        _flush(missing, runs)
        _append(Run(cluster, face), runs)
    _flush(missing, runs)
    return runs


def _face_of(cluster: str, runs: list[Run]) -> Face | None:
    """Return the default font if it has the character, otherwise the font of the run before."""
    candidates = [default_face(), *(run.face for run in runs[-1:])]
    has_it = (face for face in candidates if ord(cluster[0]) in characters(face))
    return next(has_it, None) or face_of(cluster[0])


def _flush(missing: list[str], runs: list[Run]) -> None:
    if missing:
        _append(Run(f"[{' '.join(missing)}]", default_face()), runs)
        missing.clear()


def _append(run: Run, runs: list[Run]) -> None:
    if runs and runs[-1].face == run.face:
        run = Run(runs.pop().text + run.text, run.face)
    runs.append(run)


def missing_characters(text: str) -> list[str]:
    """Return the characters of a text that no font of the system has, in order."""
    return [c for cluster in clusters(clean(text)) for c in cluster[:1] if face_of(c) is None]


def is_right_to_left(text: str) -> bool:
    """Find out the direction of a text from its first letter."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((d != "L" for d in directions if d in ("L", "R", "AL")), False)
