"""Find the images and videos that a user names by files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from retina_plugin.data import DatasetError
from retina_plugin.data.importers.image_files import is_image

VIDEOS = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".webm", ".wmv",
)  # fmt: skip

Source = str | int  # path of an image or a video, or the number of a webcam


def is_video(path: str) -> bool:
    """Return whether a file name has the suffix of a video."""
    return path.lower().endswith(VIDEOS)


def is_many(path: str) -> bool:
    """Return whether a path names a folder, a glob or a video, and not one image."""
    return not os.path.isfile(path) or is_video(path)


def name_of(source: Source) -> str:
    """Return the name of a source for messages."""
    return f"webcam {source}" if isinstance(source, int) else source


def find_sources(words: Sequence[str], *, leave_out: str | None = None) -> list[Source]:
    """Return the images, videos and webcams that words name, each once.

    Args:
        words: files of any suffix, folders, globs (``**`` for all folders below), and numbers of
            webcams. The files of a folder or glob are sorted.
        leave_out: a folder whose files are taken only if they are named one by one, because results
            are written into it.

    Raises:
        DatasetError: a word matches nothing.
    """
    found: dict[str, Source] = {}
    for word in map(os.path.expanduser, words):
        if word.isdecimal() and not os.path.exists(word):
            found[f"webcam {int(word)}"] = int(word)
            continue
        for path in _files(word, leave_out):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _files(word: str, leave_out: str | None) -> list[str]:
    if os.path.isfile(word):
        return [word]
    if os.path.lexists(word) and not os.path.isdir(word):
        raise DatasetError(f"{word}: expected a file or a folder")
    if not os.path.exists(word) and not glob.has_magic(word):
        raise DatasetError(f"{word}: there is no such file or folder")
    inside = os.path.join(glob.escape(word), "*") if os.path.isdir(word) else word
    files = [
        path
        for path in sorted(glob.glob(inside, recursive=True))
        if (is_image(path) or is_video(path)) and not os.path.isdir(path)
    ]
    kept = [path for path in files if leave_out is None or not _is_inside(path, leave_out)]
    if kept:
        return kept
    if files:
        raise DatasetError(f"{word}: all {len(files)} files are in {leave_out}, the output folder")
    below = (
        f"; {os.path.join(word, '**')} also takes the folders below" if os.path.isdir(word) else ""
    )
    raise DatasetError(f"{word}: no image or video there, by the suffix of its name{below}")


def _is_inside(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))
