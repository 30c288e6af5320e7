"""Find the file names of Label Studio's images, which may be uploads with a hash before the name,
URLs, or paths of its local storage."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.image_files import ImageFolder, is_image

HASH = re.compile(r"[0-9a-f]{8}-")  # before the name of an upload
SIGNS = re.compile(r"[^-\w.]")  # characters that Label Studio removes from names of uploads


def image_names(task: Mapping[str, Any], place: str) -> list[str]:
    """Return the names that the image file of a task may have, the likeliest first.

    Args:
        task: with "data", and with "file_upload" if the image was uploaded.
        place: for messages.

    Raises:
        DatasetError: "data" has no name of an image, or several.
    """
    paths = [_path_of(_image_of(task["data"], place))]
    if isinstance(task.get("file_upload"), str):
        paths.append(task["file_upload"])
    names: list[str] = []
    for path in paths:
        parts = path.strip("/").split("/")
        names += [path, *("/".join(parts[start:]) for start in range(len(parts)))]
        names.append(base_without_hash(path))
    return list(dict.fromkeys(names))


def base_without_hash(path: str) -> str:
    """Return the base name of a path, without the hash of an upload."""
    return HASH.sub("", path.rpartition("/")[2], count=1)


def find_upload(path: str, files: ImageFolder) -> str:
    """Return the image whose name Label Studio changes to that of an upload: it replaces spaces by
    "_", and removes brackets and similar characters. If not exactly one image fits, return the base
    name of the path.

    Args:
        path: the path in Label Studio.
        files: the image files.
    """
    base = base_without_hash(path)
    found = [name for name in files.names if _upload_name(os.path.basename(name)) == base]
    return found[0] if len(found) == 1 else base


def _upload_name(name: str) -> str:
    return SIGNS.sub("", name.strip().replace(" ", "_"))


def _image_of(data: Any, place: str) -> str:
    """Return the value of "data" that is the name of the image."""
    texts = {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
    images = {key: value for key, value in texts.items() if is_image(_path_of(value))}
    if not images:
        images = {key: texts[key] for key in ("image", "img") if key in texts}
    if len(images) > 1 and "image" in images:
        images = {"image": images["image"]}
    if len(images) != 1:
        found = ", ".join(images) or ", ".join(texts) or "nothing"
        raise DatasetError(
            f"{place}: expected one key of 'data' with the name of an image, found {found!r:.200}"
        )
    return next(iter(images.values()))


def _path_of(text: str) -> str:
    """Return the path in a URL or name, without URL encoding."""
    if text.startswith("data:"):
        return ""
    try:
        url = urlsplit(text.replace("\\", "/"))
    except ValueError:  # no URL: a name with brackets
        return text
    local = parse_qs(url.query).get("d")  # /data/local-files/?d=folder/name.jpg
    path = local[0] if local else unquote(url.path if url.scheme or url.query else text)
    return path.replace("\\", "/")
