"""A data set with the results of its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.headers import PixelFormat
from retina_plugin.data.thumbnails import Thumbnail


@dataclass
class CheckedSet:
    """A data set, the input of the rules, and their findings.

    Attributes:
        dataset: the data set without entries that cannot be used, with corrected sizes.
        annotations: (annotation, record) pairs with "bbox" as [x, y, width, height] in pixels,
            before boxes are clipped.
        unclear: files with a wrong size in the annotations, if it is unclear which size the boxes
            are measured in.
        findings: the findings of the rules that were checked so far.
        thumbnails: {file: thumbnail}.
        pixels: {file: channels, bits and numbers of its pixels}.
    """

    dataset: Dataset
    annotations: Sequence[tuple[dict[str, Any], Record]] = field(default=(), repr=False)
    unclear: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list, repr=False)
    thumbnails: dict[str, Thumbnail] = field(default_factory=dict, repr=False)
    pixels: Mapping[str, PixelFormat] = field(default_factory=dict, repr=False)

    def annotation_name(self, annotation: Any) -> Any:
        """Return the id of an annotation, or its file and line for formats other than COCO."""
        places = self.dataset.places
        return places[annotation["id"] - 1] if places else annotation["id"]

    def finding(
        self, rule: str, file: str, message: str, *, annotation: Any = None, other: str = ""
    ) -> Finding:
        """Return a finding in this data set.

        Args:
            rule, file, message, other: see :class:`Finding`.
            annotation: an annotation with "id"; None if the finding is not about an annotation.
        """
        name = None if annotation is None else self.annotation_name(annotation)
        return Finding(rule, file, name, message, self.dataset.name, other)
