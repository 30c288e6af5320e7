"""Find image files by the names in an annotation file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import FOLDERS, split_of
from retina_plugin.data.importers.image_files import ImageFolder, is_image


class ImagePlaces(NamedTuple):
    """The paths of images.

    Attributes:
        root: the folder that names are relative to.
        names: for each image, a path relative to the root or absolute; for a missing image the
            result of ``otherwise`` of :func:`place_images`.
        moved: (name in the annotations, path) of images that were found elsewhere.
    """

    root: str
    names: list[str]
    moved: list[tuple[str, str]]


class ImageFinder:
    """Finds image files by the names in an annotation file.

    Attributes:
        root: the folder that is searched.
        files: all images below it.
        is_whole: whether the data set is a folder without splits. Then the annotation file should
            name all images of the folder.
    """

    def __init__(
        self, annotation_file: str, *, path: str, split: str = "", image_folder: str = ""
    ) -> None:
        """
        Args:
            annotation_file: the annotation file. Its folder is searched first.
            path: the file or folder that the user gave. The folder, or the folder of the file, is
                searched last. If that folder is named "annotations" or similar, its parent folder
                is searched instead, unless ``path`` is a folder with images.
            split: folders with the name of the split are searched second.
            image_folder: the image folder that the user gave; then only this folder is searched.
        """
        here = os.path.dirname(annotation_file)
        if image_folder:
            root = image_folder
        else:
            root = path if os.path.isdir(path) else here
            of_annotations = os.path.basename(os.path.abspath(root)).lower() in FOLDERS
            if of_annotations and not (root == path and ImageFolder(root).names):
                root = os.path.join(root, os.pardir)
        self.root = os.path.normpath(root)
        self.split = split_of(split)
        self.is_whole = os.path.isdir(path) and not split
        bases = [image_folder] if image_folder else [here, *self._folders(), self.root]
        self.bases = [*bases, *(os.path.join(base, "images") for base in bases)]
        self.files = ImageFolder(self.root)

    def _folders(self) -> list[str]:
        """Return folders with the name of the split, in the root or in its folder "images"."""
        below = [self.root, os.path.join(self.root, "images")]
        return [
            os.path.join(base, name)
            for base in below
            if self.split and os.path.isdir(base)
            for name in sorted(os.listdir(base))
            if split_of(name) == self.split and os.path.isdir(os.path.join(base, name))
        ]

    def find(self, spellings: Sequence[str]) -> tuple[str, bool] | None:
        """Return the path of an image, and whether it is the path in the annotations; None if the
        image is not found.

        Args:
            spellings: names that the image may have, the likeliest first. A name without folder and
                suffix is an id, which any path matches. Names with backslashes, URLs with a query
                and URL-encoded names are also read as such.
        """
        slashed = [name.replace("\\", "/") for name in spellings]
        slashed += [name.partition("?")[0] for name in slashed if "://" in name]
        decoded = [unquote(name) for name in slashed]
        for name in dict.fromkeys((*spellings, *slashed, *decoded)):
            for base in self.bases:
                if os.path.isfile(os.path.join(base, name)):
                    return os.path.normpath(os.path.join(base, name)), True
        for name in dict.fromkeys((*slashed, *decoded)):
            found = self.files.find(name)
            if found is not None and not self._of_other_split(found):
                is_id = not is_image(name) and "/" not in name
                return os.path.join(self.root, found), is_id
        return None

    def _of_other_split(self, name: str) -> bool:
        splits = {split_of(folder) for folder in os.path.dirname(name).split(os.sep)}
        return bool(self.split and splits - {None, self.split})


def place_images(
    wanted: Sequence[Sequence[str]],
    finder: ImageFinder,
    *,
    source: str,
    otherwise: Callable[[str], str] = str,
) -> ImagePlaces:
    """Find the files of all images.

    Args:
        wanted: for each image, the names that it may have, the likeliest first.
        finder: finds each image.
        source: the annotation file, for messages.
        otherwise: returns the name of a missing image, given its first name.

    Raises:
        DatasetError: different names lead to the same file, or a name to several files.
    """
    names: list[str] = []
    moved: list[tuple[str, str]] = []
    written: dict[str, str] = {}
    for spellings in wanted:
        found = finder.find(spellings)
        if found is None:
            with reading_entry(source):
                _require_different(finder.files.same_name(spellings[0]), spellings[0], source)
            names.append(otherwise(spellings[0]))
            continue
        path, as_written = found
        other = written.setdefault(path, spellings[0])
        with reading_entry(source):
            if other != spellings[0]:
                raise DatasetError(
                    f"{source}: images {other!r} and {spellings[0]!r} are both found as {path}. "
                    "Move the images to the paths in the annotations, or give their folder: "
                    f"{source}@FOLDER."
                )
        relative = os.path.relpath(path, finder.root)
        names.append(os.path.abspath(path) if relative.startswith(os.pardir) else relative)
        if not as_written:
            moved.append((spellings[0], names[-1]))
    return ImagePlaces(finder.root, names, moved)


def _require_different(found: Sequence[str], name: str, source: str) -> None:
    """Check that not several images have a name.

    Raises:
        DatasetError: several images have it.
    """
    if len(found) > 1:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise DatasetError(
            f"{source}: {len(found)} images have the name {name!r}: {shown}. Write the folder of "
            f"the image too, or give the folder of all images: {source}@FOLDER."
        )
