"""Change the names of images and classes that readers of a format would not find, or would read as
other names."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Mapping

from retina_plugin.data.dataset import Dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exporters.splits import different_name
from retina_plugin.data.headers import read_header
from retina_plugin.data.importers.image_files import SUFFIXES, is_image

# suffixes of image formats that are not the name of the format
SUFFIX_OF = {"JPEG": ".jpg", "MPO": ".mpo", "TIFF": ".tif", "JPEG2000": ".jp2", "PPM": ".ppm"}
CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # control characters, undecoded bytes, ends of lines
NOT_IN_XML = "\ufffe\uffff"


class ImageNames:
    """Names for the images of an exported folder, and a note about those that are changed.

    Readers look for files with the suffix of an image in folders that are not hidden, and lists of
    files have a line for each name. So a suffix is added if it is missing or unknown, dots and
    spaces at the start and spaces at the end are removed, and control characters and backslashes
    become ``_``.
    """

    def __init__(self) -> None:
        self._changed = 0
        self._first = ""

    def __call__(self, path: str, name: str) -> str:
        """Return the new name.

        Args:
            path: the image file.
            name: its name, with ``/``.

        Raises:
            DatasetError: the suffix is unknown, and the file is no image or of an unusual format.
        """
        new = "/".join(map(_plain_part, name.split("/")))
        new += "" if is_image(new) else _suffix(path)
        if new != name:
            self._changed += 1
            self._first = self._first or f"{name!r} is {new!r}"
        return new

    def notes(self) -> list[str]:
        """Return a list of one note, or of none if no name was changed."""
        if not self._changed:
            return []
        return [
            f"{self._changed} images were renamed, because readers would not find their names "
            f"(first: {self._first})"
        ]


def _plain_part(part: str) -> str:
    """Return the name of a file or folder without what hides it, ends a line or separates
    folders."""
    text = "".join("_" if _is_control(c) or c == "\\" else c for c in part.strip())
    stem, suffix = os.path.splitext(text.lstrip(". "))
    return f"{stem.strip()}{suffix}" or "_"


def _suffix(path: str) -> str:
    kind = read_header(path).pixels.format
    suffix = SUFFIX_OF.get(kind, f".{kind.lower()}")
    if suffix not in SUFFIXES:
        raise DatasetError(
            f"{path} is a {kind} file, whose suffix readers do not take for that of an image: save "
            "it as PNG or JPEG"
        )
    return suffix


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in CONTROLS or character in NOT_IN_XML


def with_plain_classes(
    datasets: Mapping[str, Dataset],
) -> tuple[dict[str, Dataset], list[str]]:
    """Change class names that readers would strip or refuse: with spaces at the start or end, or
    with control characters such as line breaks.

    Args:
        datasets: {split: data set} with the same classes; at least one.

    Returns:
        {split: data set}, and a note if a name was changed. Names stay different: the second "car"
        becomes "car_2".
    """
    names = next(iter(datasets.values())).class_names
    used = {name.casefold() for name in names if _plain_class(name) == name}
    new = tuple(
        name if _plain_class(name) == name else different_name(_plain_class(name), used)
        for name in names
    )
    changed = [f"{a!r} is {b!r}" for a, b in zip(names, new, strict=True) if a != b]
    if not changed:
        return dict(datasets), []
    note = f"{len(changed)} class names were changed, because readers would change them: "
    return {
        split: dataclasses.replace(dataset, class_names=new) for split, dataset in datasets.items()
    }, [note + ", ".join(changed)]


def _plain_class(name: str) -> str:
    text = "".join(" " if _is_control(c) else c for c in name)
    return name if text == name and name == name.strip() else " ".join(text.split()) or "_"
