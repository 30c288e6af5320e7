"""What importers return: annotations of any format as the lists of COCO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Imported:
    """Annotations that an importer has read.

    Attributes:
        format: printed to the user, such as "YOLO, split train of data.yaml". Of files in
            COCO's layout it starts with "COCO", and ``BOX_COORDINATES`` says what boxes are.
        source: the file or folder of the annotations, as the user named it; for messages.
        image_root: the folder that the file names of images start from.
        content: COCO's lists "images", "annotations" and "categories". An annotation may have
            "iscrowd", "difficult" and "group_of" (0 or 1), an image may have "width" and "height".
            Images without them are measured later: an importer need not open image files.
        places: for each annotation, the file and line it comes from, such as "labels/7.txt, line
            3"; for messages. Empty for files in COCO's layout, where ids name the annotations.
        unit: of the boxes [x, y, width, height]: "pixels" of the image as it is displayed, or
            "fraction" of its width and height.
        notes: what was skipped or converted, counted; one line each.
        watched: files and folders that are read again when they change; of a folder all
            annotation files below. Empty: ``source`` only.
    """

    format: str
    source: str
    image_root: str
    content: dict[str, list[dict[str, Any]]] = field(repr=False)
    places: Sequence[str] = field(repr=False)
    unit: str = "pixels"
    notes: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()

    @property
    def is_coco(self) -> bool:
        """Whether it comes from a file in COCO's layout."""
        return self.format.split(",")[0] == "COCO"


class Importer(Protocol):
    """Reads one format. A new importer is a file with a class that is registered in
    :data:`retina_plugin.data.importers.IMPORTERS`, with the name of the format."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """Recognise the format by content.

        Args:
            path: an existing file or folder.

        Returns:
            None if the path does not have this format. Otherwise the splits of the path, from
            "train", "val", "test" or another name to the files that they are read from, for
            messages; a path without splits has the single key "". It reads a little of the path
            only.
        """
        ...

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """Read the annotations of a split.

        Args:
            path: for which :meth:`splits` returned a mapping.
            split: a key of that mapping.
            image_folder: where the images are, if the user wrote ``path@image_folder``.

        Raises:
            DatasetError: an entry that cannot be used; file and line are named.
        """
        ...
