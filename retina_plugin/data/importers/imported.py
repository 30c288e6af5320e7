"""The interface of importers, and their result: annotations of any format as COCO's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Imported:
    """Annotations that an importer has read.

    Attributes:
        format: printed to the user, such as "YOLO, split train of data.yaml". For files in COCO
            format it starts with "COCO", and ``BOX_COORDINATES`` gives the unit of the boxes.
        source: the file or folder of the annotations, for messages.
        image_root: the folder that the file names of images are relative to.
        content: COCO's lists "images", "annotations" and "categories". An annotation may have
            "iscrowd", "difficult" and "group_of" (0 or 1), an image may have "width" and "height".
            Missing sizes are read later from the image files; an importer need not open them.
        places: for each annotation, its file and line, such as "labels/7.txt, line 3", for
            messages. Empty for files in COCO format, whose messages contain annotation ids.
        unit: unit of the boxes [x, y, width, height]: "pixels" of the image after EXIF rotation, or
            "fraction" of its width and height.
        notes: one line, with a count, for each kind of skipped or converted entries.
        watched: files and folders; the data set is read again if one of them changes, or an
            annotation file in such a folder. Empty for ``source`` only.
        classes_are_listed: False if the classes are those of the boxes, because the format has no
            list of classes.
    """

    format: str
    source: str
    image_root: str
    content: dict[str, list[dict[str, Any]]] = field(repr=False)
    places: Sequence[str] = field(repr=False)
    unit: str = "pixels"
    notes: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    classes_are_listed: bool = True

    @property
    def is_coco(self) -> bool:
        """Whether the annotations come from a file in COCO format."""
        return self.format.split(",")[0] == "COCO"


class Importer(Protocol):
    """Reads one format. To add a format, register a class in
    :data:`retina_plugin.data.importers.IMPORTERS` under the name of the format."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """Recognise the format by content.

        Args:
            path: an existing file or folder.

        Returns:
            None if the path does not have this format. Otherwise {split: files of the split, for
            messages}, where a split is "train", "val", "test" or another name; a path without
            splits has the single key "". Only the start of files is read.
        """
        ...

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """Read the annotations of a split.

        Args:
            path: a path for which :meth:`splits` returned a mapping.
            split: a key of that mapping.
            image_folder: the folder of the images, if the user wrote ``path@image_folder``.

        Raises:
            DatasetError: an entry cannot be used; the message names the file and line.
        """
        ...
