"""Names of annotations in messages: the id for COCO's files, file and line for other formats."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


class AnnotationNames:
    """Returns names of annotations for messages.

    Args:
        places: file and line of the annotations with ids 1, 2, ...; empty for COCO's files.
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
