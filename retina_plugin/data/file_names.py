"""Find the image files that annotations name, also where they spell a name in another way than the
disk does."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from retina_plugin.data.errors import DatasetError

# Encodings in which programs on Windows and DOS write and read names that are UTF-8 elsewhere.
CODE_PAGES = ("cp1252", "cp1250", "latin-1", "cp1251", "cp437", "cp850")


def find_images(names: Sequence[str], folder: str, json_file: str) -> tuple[list[str], list[str]]:
    """Paths of image files.

    A name that is no file is also tried with backslashes as separators, without URL encoding
    (``%20``), in the other Unicode normalisation, and with other upper and lower case; it counts if
    exactly one file fits.

    Args:
        names: ``file_name`` of each image; may be empty.
        folder: what they start from.
        json_file: for messages.

    Returns:
        Paths, and a line for each kind of spelling that was accepted, with a count and the first
        name.

    Raises:
        DatasetError: images are missing; the message counts them and names the cause if it can be
            found.
    """
    disk = _Disk()
    paths = [os.path.join(folder, name) for name in names]
    missing, counts, first = [], Counter(), {}
    for place, path in enumerate(paths):
        if disk.has(path):
            continue
        found = next(
            (f for f in _spellings(folder, names[place], disk) if os.path.isfile(f[1])), None
        )
        if found is None:
            missing.append(place)
            continue
        why, paths[place] = found
        counts[why] += 1
        first.setdefault(why, f"{names[place]!r} is {os.path.relpath(paths[place], folder)!r}")
    if missing:
        shown = ", ".join(paths[i] for i in missing[:3]) + (", ..." if len(missing) > 3 else "")
        cause = _encoding_of(folder, names[missing[0]], disk)
        raise DatasetError(
            f"{len(missing)} of {len(names)} images of {json_file} are missing: "
            f"{_printable(shown)}. "
            + (cause or "Check the image folder, or take them out of the JSON.")
        )
    lines = [
        f"{n} of {len(names)} file names {why} (first: {first[why]})" for why, n in counts.items()
    ]
    return paths, lines


class _Disk:
    """Folders listed once, as asking for each of many files takes long on network disks."""

    def __init__(self) -> None:
        self.listed: dict[str, set[str]] = {}
        self.folded: dict[str, dict[str, list[str]]] = {}

    def names_in(self, folder: str) -> set[str]:
        if folder not in self.listed:
            self.listed[folder] = (
                set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
            )
        return self.listed[folder]

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        # A file system may spell a name in another way than it lists it: upper case, accents.
        return name in self.names_in(folder) or os.path.isfile(path)

    def alike(self, folder: str, name: str) -> list[str]:
        """Names in a folder that differ from ``name`` by case or Unicode normalisation only."""
        if folder not in self.folded:
            table = self.folded[folder] = defaultdict(list)
            for other in self.names_in(folder):
                table[_folded(other)].append(other)
        return self.folded[folder].get(_folded(name), [])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _spellings(folder: str, name: str, disk: _Disk) -> Iterator[tuple[str, str]]:
    """(what is unusual about the name, path) of other ways to spell it."""
    slashes = name.replace("\\", "/")
    plain = unquote(slashes)
    if slashes != name:
        yield "have backslashes, read as /", os.path.join(folder, slashes)
    if plain != slashes:
        yield "are URL-encoded", os.path.join(folder, plain)
    for spelling in dict.fromkeys((name, slashes, plain)):
        found = _alike(folder, spelling, disk)
        if found is not None:
            same = unicodedata.normalize("NFC", os.path.relpath(found, folder or "."))
            normal = unicodedata.normalize("NFC", os.path.normpath(spelling))
            yield (
                (
                    "have another Unicode normalisation than the disk (NFC, NFD)"
                    if same == normal
                    else "differ from the disk in upper and lower case"
                ),
                found,
            )


def _alike(folder: str, name: str, disk: _Disk) -> str | None:
    """The only path that differs from ``folder/name`` by case or Unicode normalisation; None if
    there is none."""
    path = folder
    for part in os.path.normpath(name).split("/"):
        found = [part] if part in disk.names_in(path) else disk.alike(path, part)
        if len(found) != 1:
            return None
        path = os.path.join(path, found[0])
    return path


def _encoding_of(folder: str, name: str, disk: _Disk) -> str:
    """What went wrong with the letters of a missing name; empty if nothing is recognised."""

    def exists(code: Callable[[str], str], page: str) -> str | None:
        try:
            spelling = code(page)
        except UnicodeError:
            return None
        return spelling if spelling != name and disk.has(os.path.join(folder, spelling)) else None

    for page in CODE_PAGES:
        if found := exists(lambda p: name.encode(p).decode("utf-8"), page):
            return (
                f"{name!r} is {found!r} in UTF-8 that was read as {page}. Write the JSON again "
                "with names in UTF-8."
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


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
