"""How messages name an annotation: by its id in COCO's files, by file and line in others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


class AnnotationNames:
    """Names annotations.

    Args:
        places: file and line of each annotation, whose ids count from 1; empty for files of COCO.
    """

    def __init__(self, places: Sequence[str] = ()) -> None:
        self.places = places

    def of(self, annotation: Mapping[str, Any], record: Mapping[str, Any]) -> str:
        """Return "annotation 7 of a.jpg" or "labels/a.txt, line 3"."""
        if self.places:
            number: int = annotation["id"]
            return self.places[number - 1]
        return f"annotation {annotation['id']} of {os.path.basename(record['file_name'])}"

    def of_two(self, first: Any, second: Any, record: Mapping[str, Any]) -> str:
        """Return a name of two annotations of an image, given their ids."""
        if self.places:
            return f"{self.places[first - 1]} and {self.places[second - 1]}"
        return f"annotations {first!r} and {second!r} of {os.path.basename(record['file_name'])}"
