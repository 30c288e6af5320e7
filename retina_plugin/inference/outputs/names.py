"""Names of output files that tell which input they belong to, and never collide."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from retina_plugin.config.different_names import free_name
from retina_plugin.inference.source_files import Source, is_video

LONGEST = 180  # bytes of a part of a path; file systems allow 255, with suffixes


class OutputNames:
    """The names of inputs, relative to the folder that contains them all."""

    def __init__(self, sources: Sequence[Source]) -> None:
        paths = [os.path.abspath(source) for source in sources if isinstance(source, str)]
        self.folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        self._names: dict[Source, str] = {}
        taken: set[str] = set()
        # images first: the name of a frame must not be that of an image
        for source in sorted(sources, key=_has_frames):
            name = _safe(os.path.splitext(self.relative(source))[0])
            # frame 12 of a is a_000012
            frames = {re.sub(r"_\d{6,}$", "", other) for other in taken}
            name = free_name(name, taken | frames if _has_frames(source) else taken)
            self._names[source] = name
            taken.add(name.casefold())  # some file systems do not distinguish case

    def relative(self, source: Source) -> str:
        """Return the path of an input, relative to the folder."""
        if isinstance(source, int):
            return f"webcam_{source}"
        return os.path.relpath(os.path.abspath(source), self.folder)

    def of(self, source: Source, frame: int | None = None) -> str:
        """Return the name of the output files of an input, or of a frame of a video.

        It has no suffix, and may have folders. Of two inputs with the same name, such as a.jpg and
        a.png, the second gets the ending ".2".
        """
        name = self._names[source]
        return name if frame is None else f"{name}_{frame:06d}"


def _has_frames(source: Source) -> bool:
    return isinstance(source, int) or is_video(source)


def _safe(path: str) -> str:
    return os.path.join(*(safe_part(part) for part in path.split(os.sep)))


def safe_part(text: str) -> str:
    """Return text as one part of a path: without separators, control characters, dots and spaces at
    the end, which Windows drops, and names such as "..", and not too long."""
    name = re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]|[. ]+$", "_", text)
    encoded = name.encode("utf-8", errors="surrogateescape")[:LONGEST]
    return encoded.decode("utf-8", errors="ignore") or "_"
