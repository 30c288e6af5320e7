"""Collect images and boxes of an annotation format as COCO's lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from retina_plugin.data.box_lengths import length_between
from retina_plugin.data.importers.imported import Imported


class Collector:
    """Collects the images and boxes that an importer reads; :meth:`finish` returns them."""

    def __init__(
        self,
        *,
        format: str,
        source: str,
        image_root: str,
        class_names: Sequence[str] | None,
        unit: str = "pixels",
        watched: Sequence[str] = (),
    ) -> None:
        """
        Args:
            format, source, image_root, unit, watched: see :class:`Imported`.
            class_names: all classes in order, if the format lists them; None to use the classes
                of the boxes, sorted by name.
        """
        self.format, self.source, self.image_root = format, source, image_root
        self.unit, self.watched = unit, tuple(watched)
        self.class_names = None if class_names is None else list(class_names)
        self.images: list[dict[str, Any]] = []
        self.boxes: list[dict[str, Any]] = []
        self.places: list[str] = []
        self._notes: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add_image(
        self, file_name: str, *, width: int | None = None, height: int | None = None
    ) -> int:
        """Add an image, with or without boxes.

        Args:
            file_name: relative to ``image_root``, or absolute.
            width, height: in pixels, if the format has them.

        Returns:
            The id of the image, counted from 1.
        """
        image: dict[str, Any] = {"id": len(self.images) + 1, "file_name": file_name}
        if width and height:
            image |= {"width": width, "height": height}
        self.images.append(image)
        return len(self.images)

    def add_box(
        self, image: int, class_name: str, xyxy: Sequence[float], *, place: str, **flags: int
    ) -> None:
        """Add a box.

        Args:
            image: the id that :meth:`add_image` returned.
            class_name: must be in the class names, if these are given.
            xyxy: left, top, right and bottom edge in the unit of the collector; not clipped.
            place: file and line, for messages.
            flags: "difficult", "group_of" or "iscrowd" with 0 or 1. Boxes with a flag of 1 are not
                used for training, and evaluation does not count them as missed.
        """
        left, top, right, bottom = map(float, xyxy)
        self.boxes.append(
            {
                "id": len(self.boxes) + 1,
                "image_id": image,
                "class": class_name,
                "bbox": [left, top, length_between(left, right), length_between(top, bottom)],
                "iscrowd": int(any(flags.values())),
                **{name: value for name, value in flags.items() if value and name != "iscrowd"},
            }
        )
        self.places.append(place)

    def note(self, what: str, place: str) -> None:
        """Count one thing that was skipped or converted. :meth:`finish` reports the count and the
        first place."""
        self._notes[what] += 1
        self._first.setdefault(what, place)

    def finish(self) -> Imported:
        """Return the collected annotations and notes."""
        names = self.class_names
        if names is None:
            names = sorted({box["class"] for box in self.boxes})
        ids = {name: number for number, name in enumerate(names, start=1)}
        annotations = [
            {**{k: v for k, v in box.items() if k != "class"}, "category_id": ids[box["class"]]}
            for box in self.boxes
        ]
        return Imported(
            format=self.format,
            source=self.source,
            image_root=self.image_root,
            content={
                "images": self.images,
                "annotations": annotations,
                "categories": [{"id": number, "name": name} for name, number in ids.items()],
            },
            places=self.places,
            unit=self.unit,
            watched=self.watched,
            classes_are_listed=self.class_names is not None,
            notes=tuple(
                f"{count} {what} (first: {self._first[what]})"
                for what, count in self._notes.items()
            ),
        )
