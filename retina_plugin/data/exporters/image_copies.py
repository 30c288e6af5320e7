"""Copy or link image files into a new folder."""

from __future__ import annotations

import os
import shutil

from retina_plugin.config.disk import disk_errors


class ImageCopies:
    """Copies image files, or makes hard links to them."""

    def __init__(self, folder: str, *, link: bool) -> None:
        """
        Args:
            folder: an existing folder.
            link: make hard links if the file system supports them, else copies.
        """
        self.folder, self.link = folder, link
        self.copied = self.linked = 0

    def add(self, source: str, name: str) -> None:
        """Copy or link an image file into the folder.

        Args:
            source: path of the image.
            name: path relative to the folder; missing subfolders are created.

        Raises:
            DiskError: the file cannot be written.
        """
        path = os.path.join(self.folder, name)
        with disk_errors(path, lambda: os.path.getsize(source)):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if self.link and _link(source, path):
                self.linked += 1
            else:
                shutil.copyfile(source, path)
                self.copied += 1

    def __str__(self) -> str:
        """Return a line with the numbers of copied and linked files."""
        if not self.linked:
            return f"{self.copied} images were copied"
        copied = f", {self.copied} were copied" if self.copied else ""
        return (
            f"{self.linked} images are hard links{copied}: a program that writes to one also "
            "changes the original"
        )


def _link(source: str, path: str) -> bool:
    """Make a hard link; return False if that is impossible, for example across file systems."""
    try:
        os.link(os.path.realpath(source), path)
    except OSError:
        return False
    return True
