"""Find the image files of annotations, also if their names are spelled differently on the disk."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from retina_plugin.config.printable import printable
from retina_plugin.data.errors import DatasetError

# encodings of file names on Windows and DOS, where other systems use UTF-8
CODE_PAGES = ("cp1252", "cp1250", "latin-1", "cp1251", "cp437", "cp850")


def find_images(names: Sequence[str], folder: str, json_file: str) -> tuple[list[str], list[str]]:
    """Return the paths of image files.

    If a file does not exist, these other spellings of its name are tried: without surrounding
    spaces and line breaks, with backslashes as separators, as a ``file://`` URL, with URL encoding
    (``%20``) decoded, without the folders up to the image folder's name
    (``C:\\data\\images\\0.png`` for the image folder ``images``), in another Unicode
    normalization, and in other upper and lower case.

    Args:
        names: ``file_name`` of each image; may be empty.
        folder: the image folder, which the names are relative to.
        json_file: the annotation file, for messages.

    Returns:
        The paths, and a warning for each kind of spelling that was found, with a count and the
        first name.

    Raises:
        DatasetError: images are missing; the message counts them and, if possible, says why.
    """
    found = locate_images(names, folder)
    missing = [place for place, path in enumerate(found.paths) if path is None]
    if missing:
        paths = [os.path.join(folder, names[place]) for place in missing[:3]]
        shown = ", ".join(paths) + (", ..." if len(missing) > 3 else "")
        cause = found.explain_missing(names[missing[0]])
        raise DatasetError(
            f"{len(missing)} of {len(names)} images of {json_file} are missing: "
            f"{printable(shown)}. "
            + (cause or "Check the image folder, or remove them from the annotations.")
        )
    return [path for path in found.paths if path is not None], found.lines


class LocatedImages:
    """The result of :func:`locate_images`.

    Attributes:
        paths: the path of each image; None if the image is missing.
        lines: the warnings, see :func:`find_images`.
    """

    def __init__(
        self, paths: list[str | None], lines: list[str], folder: str, listings: _FolderListings
    ) -> None:
        self.paths, self.lines = paths, lines
        self._folder, self._listings = folder, listings

    def explain_missing(self, name: str) -> str:
        """Explain why there is no file of a name; "" if the reason is unknown."""
        return _explain_encoding(self._folder, name, self._listings) or _explain_extra_folders(
            self._folder, name, self._listings
        )


def locate_images(names: Sequence[str], folder: str) -> LocatedImages:
    """Find image files as :func:`find_images` does, but without an error for missing ones."""
    listings = _FolderListings()
    paths: list[str | None] = []
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for name in names:
        path = os.path.join(folder, name)
        if listings.has(path):
            paths.append(path)
            continue
        spellings = _other_spellings(folder, name, listings)
        why, found = next((f for f in spellings if os.path.isfile(f[1])), ("", None))
        paths.append(found)
        if found is not None:
            counts[why] += 1
            first.setdefault(why, f"{name!r} is {os.path.relpath(found, folder)!r}")
    lines = [
        f"{n} of {len(names)} file names {why} (first: {first[why]})" for why, n in counts.items()
    ]
    return LocatedImages(paths, lines, folder, listings)


class _FolderListings:
    """Lists each folder only once: a request for each file would be slow on network disks."""

    def __init__(self) -> None:
        self.listed: dict[str, set[str]] = {}
        self.by_folded_name: dict[str, dict[str, list[str]]] = {}

    def names_in(self, folder: str) -> set[str]:
        if folder not in self.listed:
            self.listed[folder] = (
                set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
            )
        return self.listed[folder]

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        # a file system may accept other spellings than the one it lists
        return name in self.names_in(folder) or os.path.isfile(path)

    def similar_names(self, folder: str, name: str) -> list[str]:
        """Return names in a folder that differ from ``name`` only by case or Unicode
        normalization."""
        if folder not in self.by_folded_name:
            table = self.by_folded_name[folder] = defaultdict(list)
            for other in self.names_in(folder):
                table[folded(other)].append(other)
        return self.by_folded_name[folder].get(folded(name), [])


def folded(name: str) -> str:
    """Return a name without the differences of case and Unicode normalization."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _other_spellings(
    folder: str, name: str, listings: _FolderListings
) -> Iterator[tuple[str, str]]:
    """Yield (description for the warning, path) for each other spelling of a name."""
    stripped = name.strip()
    slashes = stripped.replace("\\", "/")
    local = slashes.removeprefix("file://")
    decoded = unquote(local)
    steps = {
        "have spaces or line breaks around them": (name, stripped),
        "have backslashes, read as /": (stripped, slashes),
        "are file:// URLs": (slashes, local),
        "are URL-encoded": (local, decoded),
    }
    for why, (before, after) in steps.items():
        if after != before:
            yield why, os.path.join(folder, after)
    shortened = _after_folder_name(folder, decoded)
    if shortened:
        yield "include the image folder, which was removed", shortened
    for spelling in dict.fromkeys((name, slashes, decoded)):
        found = _similar_path(folder, spelling, listings)
        if found is not None:
            same = unicodedata.normalize("NFC", os.path.relpath(found, folder or "."))
            normal = unicodedata.normalize("NFC", os.path.normpath(spelling))
            yield (
                (
                    "have another Unicode normalization than the disk (NFC, NFD)"
                    if same == normal
                    else "differ from the disk in upper and lower case"
                ),
                found,
            )


def _after_folder_name(folder: str, name: str) -> str | None:
    """Return the file that remains after removing a name's folders up to the image folder's name.

    Returns None if there is no such file, or more than one.
    """
    shortened = os.path.basename(os.path.abspath(folder)).casefold()
    parts = [part for part in name.split("/") if part]
    paths = {
        os.path.join(folder, *parts[place + 1 :])
        for place, part in enumerate(parts[:-1])
        if part.casefold() == shortened
    }
    found = [path for path in paths if os.path.isfile(path)]
    return found[0] if len(found) == 1 else None


def _explain_extra_folders(folder: str, name: str, listings: _FolderListings) -> str:
    """Explain a missing file whose name has folders that the image folder lacks; else return ""."""
    base = unquote(name.strip().replace("\\", "/")).rpartition("/")[2]
    if base and base != name and listings.has(os.path.join(folder, base)):
        return (
            f"{name!r} starts with folders that are not in {folder}, but {base!r} is there: write "
            "names relative to the image folder, or give another image folder."
        )
    return ""


def _similar_path(folder: str, name: str, listings: _FolderListings) -> str | None:
    """Return the only path that differs from ``folder/name`` by case or Unicode normalization.

    Returns None if there is no such path, or more than one.
    """
    path = folder
    for part in os.path.normpath(name).split("/"):
        found = [part] if part in listings.names_in(path) else listings.similar_names(path, part)
        if len(found) != 1:
            return None
        path = os.path.join(path, found[0])
    return path


def _explain_encoding(folder: str, name: str, listings: _FolderListings) -> str:
    """Explain a missing file by a wrong character encoding; return "" if none fits."""

    def exists(code: Callable[[str], str], page: str) -> str | None:
        try:
            spelling = code(page)
        except UnicodeError:
            return None
        return (
            spelling if spelling != name and listings.has(os.path.join(folder, spelling)) else None
        )

    for page in CODE_PAGES:
        if found := exists(lambda p: name.encode(p).decode("utf-8"), page):
            return (
                f"{name!r} is {found!r} in UTF-8 that was read as {page}. Write the JSON file "
                "again with names in UTF-8."
            )
        if exists(lambda p: os.fsdecode(name.encode(p)), page):
            return (
                f"The disk spells {name!r} in {page}, not in UTF-8. "
                f"Rename the files, for example with convmv -f {page} -t utf8."
            )
        if found := exists(lambda p: name.encode("utf-8").decode(p), page):
            return (
                f"On the disk {name!r} is {found!r}: UTF-8 that was unpacked as {page}. Unpack the "
                "images again."
            )
    return ""
