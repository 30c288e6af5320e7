"""List the image files of a folder, and find an image by the name in an annotation."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import cached_property
from pathlib import PureWindowsPath
from urllib.parse import unquote

from retina_plugin.data.file_names import folded
from retina_plugin.data.importers.run_folders import walk_data

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx"}
    | {".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)


def is_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_visible_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image and is not hidden, as the files
    ``._photo.jpg`` are that macOS puts into archives."""
    return is_image(name) and not name.startswith(".")


class ImageFolder:
    """The image files below a folder, listed once, on first use."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @cached_property
    def names(self) -> list[str]:
        """Paths of all images, relative to the folder, sorted, without hidden files and the images
        of runs."""
        found = []
        for base, files in walk_data(self.folder):
            below = os.path.relpath(base, self.folder)
            found += [
                os.path.normpath(os.path.join(below, name))
                for name in files
                if is_visible_image(name)
            ]
        return sorted(found)

    @cached_property
    def _known(self) -> set[str]:
        return set(self.names)

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """Paths by base name, with and without suffix."""
        table = defaultdict(list)
        for name in self.names:
            base = os.path.basename(name)
            table[base].append(name)
            table[os.path.splitext(base)[0]].append(name)
        return table

    @cached_property
    def _by_folded_end(self) -> dict[str, list[str]]:
        table: dict[str, list[str]] = defaultdict(list)
        for end, names in self._by_end.items():
            table[folded(end)] += names
        return table

    def of_name(self, name: str) -> list[str]:
        """Return all images with a base name, which may lack its suffix."""
        return self._by_end.get(name, [])

    def same_name(self, name: str) -> list[str]:
        """Return all images with the base name of ``name``, in any spelling of :meth:`find`."""
        base = unquote(PureWindowsPath(name).name)
        return self._by_folded_end.get(folded(base), [])

    def find(self, name: str) -> str | None:
        """Return the image with the name that an annotation has.

        Args:
            name: may start with folders of another computer, may lack the suffix, and may be
                URL-encoded.

        Returns:
            A path relative to the folder: ``name`` itself if that image exists, else the only image
            with the same base name, else the only image with the same base name apart from the
            suffix, else the same in any upper and lower case and Unicode normalization, else None.
        """
        plain = os.path.normpath(name)
        if plain in self._known:
            return plain
        base = PureWindowsPath(name).name  # "/" and "\\" separate folders
        stem = os.path.splitext(base)[0] if is_image(base) else base
        for end in (base, stem, unquote(base), unquote(stem)):
            if len(self._by_end.get(end, ())) == 1:
                return self._by_end[end][0]
        for end in (unquote(base), unquote(stem)):
            if len(found := self._by_folded_end.get(folded(end), [])) == 1:
                return found[0]
        return None
