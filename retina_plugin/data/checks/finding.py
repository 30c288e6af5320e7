"""A finding of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One violation of a rule.

    Attributes:
        rule: name of the rule, see :data:`retina_plugin.data.checks.RULES`.
        file: the image, or the file or folder of the annotations.
        annotation: id of the annotation, or its file and line for formats other than COCO; None if
            the finding is not about an annotation.
        message: one sentence.
        dataset: name of the data set.
        other: the other image of a pair; "" if there is none.
    """

    rule: str
    file: str
    annotation: Any
    message: str
    dataset: str = ""
    other: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for the JSON file."""
        return {
            "rule": self.rule,
            "file": self.file,
            "annotation": self.annotation,
            "message": self.message,
        }
