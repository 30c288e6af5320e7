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

    A name that is no file is also tried without spaces and line breaks around it, with backslashes
    as separators, as a ``file://`` URL, without URL encoding (``%20``), without the folders up to
    one of the image folder's name, as ``C:\\data\\images\\0.png`` below ``images``, in the other
    Unicode normalisation, and with other upper and lower case; it counts if exactly one file fits.

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
        name = names[missing[0]]
        cause = _encoding_of(folder, name, disk) or _folders_before(folder, name, disk)
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
    stripped = name.strip()
    slashes = stripped.replace("\\", "/")
    local = slashes.removeprefix("file://")
    plain = unquote(local)
    steps = {
        "have spaces or line breaks around them": (name, stripped),
        "have backslashes, read as /": (stripped, slashes),
        "are file:// URLs": (slashes, local),
        "are URL-encoded": (local, plain),
    }
    for why, (before, after) in steps.items():
        if after != before:
            yield why, os.path.join(folder, after)
    own = _below_own_name(folder, plain)
    if own:
        yield "name the image folder and those before it, which were left out", own
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


def _below_own_name(folder: str, name: str) -> str | None:
    """The only file that a name means without its folders up to one that is called as the image
    folder is; None if there is none."""
    own = os.path.basename(os.path.abspath(folder)).casefold()
    parts = [part for part in name.split("/") if part]
    paths = {
        os.path.join(folder, *parts[place + 1 :])
        for place, part in enumerate(parts[:-1])
        if part.casefold() == own
    }
    found = [path for path in paths if os.path.isfile(path)]
    return found[0] if len(found) == 1 else None


def _folders_before(folder: str, name: str, disk: _Disk) -> str:
    """That a missing name starts with folders that are not in the image folder; empty if nothing
    is recognised."""
    base = unquote(name.strip().replace("\\", "/")).rpartition("/")[2]
    if base and base != name and disk.has(os.path.join(folder, base)):
        return (
            f"{name!r} starts with folders that are not below {folder}, where {base!r} is: write "
            "names that start from the image folder, or name another one."
        )
    return ""


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
    """In one line, also where names have line breaks or are no UTF-8."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
