"""Read the start of a JSON file, to recognise its format without reading the whole file."""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

HEAD = 1 << 16  # bytes
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')


class JsonHead(NamedTuple):
    """The first 64 KiB of a JSON file.

    Attributes:
        kind: "object" or "array".
        keys: keys of the object, or of the first object of the array, that occur in the head.
        text: the head as text.
    """

    kind: str
    keys: frozenset[str]
    text: str


def json_head(path: str) -> JsonHead | None:
    """Read the start of a file; return None if it is not JSON with an object or array.

    Args:
        path: any file or folder, with any suffix.
    """
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        raw = file.read(HEAD)
    if b"\0" in raw[:4]:  # UTF-16 or UTF-32, or a binary file such as an image
        try:
            text = raw.decode(json.detect_encoding(raw), errors="ignore").lstrip("\ufeff \r\n\t")
        except UnicodeError:
            return None
    else:
        text = raw.decode("utf-8-sig", errors="replace").lstrip()
    if not text.startswith(("{", "[")):
        return None
    return JsonHead("object" if text[0] == "{" else "array", frozenset(_keys(text)), text)


def _keys(text: str) -> set[str]:
    """Return the keys of the outermost object, or of the first object of an outer array."""
    level = 1 if text.startswith("{") else 2
    keys: set[str] = set()
    depth, word, objects = 0, "", 0
    for match in TOKEN.finditer(text):
        token = match[0]
        if token in ("{", "["):
            depth += 1
            objects += depth == level and token == "{"
        elif token in ("}", "]"):
            depth -= 1
        elif token == ":" and depth == level and objects == 1:
            keys.add(word)
        word = token[1:-1] if token[0] == '"' else ""
    return keys
