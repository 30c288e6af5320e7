"""Read class names and image paths from YOLO's data.yaml and Darknet's obj.data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.text_file import HEAD, head_of, read_text

NOTHING = ("", "null", "~", "none")
OTHER_SPLITS = "splits"  # key of our exports: {split: path} of splits that are not in SPLIT_NAMES
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class DataYaml:
    """The content of a data.yaml.

    Attributes:
        file: the path of the data.yaml; of the data set if it has none.
        root: the folder that paths in it are relative to.
        class_names: the class names by index; empty if they are unknown.
        splits: {split: folders, lists of images, or images}, as written.
        keypoints: how many numbers follow the box in each row of a label file.
    """

    file: str
    root: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    keypoints: int = 0


def is_data_yaml(path: str) -> bool:
    """Return whether a file is a data.yaml or Darknet's obj.data, by its suffix and content."""
    name = path.lower()
    if name.endswith(".data"):
        return bool(_darknet_lines(head_of(path)).keys() & {"train", "valid"})
    if not name.endswith(YAML_SUFFIXES) or not os.path.isfile(path):
        return False
    if os.path.getsize(path) > HEAD:
        return False  # a data.yaml is shorter
    try:
        content = yaml.load(head_of(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return False
    if not isinstance(content, dict):
        return False
    return bool({"names", "nc"} & content.keys()) and bool(_splits(content))


def read_data_yaml(path: str) -> DataYaml:
    """Read a data.yaml or an obj.data.

    Raises:
        DatasetError: the file is not YAML, or a value is invalid.
    """
    if path.lower().endswith(".data"):
        content: dict[str, Any] = _darknet_lines(read_text(path))
        content["nc"] = content.get("classes", "")
    else:
        content = _parse(path)
    splits = {
        split: tuple(value if isinstance(value, list) else [value])
        for split, value in _splits(content).items()
        if str(value).strip().lower() not in NOTHING
    }
    for split, entries in splits.items():
        if not all(isinstance(entry, str) for entry in entries):
            raise DatasetError(
                f"{path}: {split}: expected a path or a list of paths, found {entries!r:.80}"
            )
    folder = os.path.dirname(path)
    root = os.path.join(folder, os.path.expanduser(str(content.get("path", "")).strip()))
    names = _names(content.get("names", ""), path)
    return DataYaml(
        file=path,
        root=root if os.path.isdir(root) else folder or ".",
        class_names=_checked_names(names, str(content.get("nc", "")), path),
        splits=splits,
        keypoints=_keypoints(content.get("kpt_shape"), path),
    )


def _splits(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return {split: value} of the splits train, val and test, and of :data:`OTHER_SPLITS`."""
    known = {SPLIT_NAMES.get(str(key).lower(), ""): value for key, value in content.items()}
    known.pop("", None)
    others = content.get(OTHER_SPLITS)
    return known | (others if isinstance(others, dict) else {})


def _parse(path: str) -> dict[str, Any]:
    """Parse YAML with all values as text, so that class names such as "no" or 1 are unchanged."""
    try:
        content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path} is not YAML: {reason:.200}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected keys such as train and names, found {content!r:.80}")
    return content


def _darknet_lines(text: str) -> dict[str, Any]:
    """Return {key: value} of ``key = value`` lines."""
    pairs = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _names(value: Any, path: str) -> list[str]:
    """Return class names from a list, a dict {index: name}, or a file with one name per line."""
    if isinstance(value, list):
        names = value
    elif isinstance(value, dict):
        if value.keys() != {str(index) for index in range(len(value))}:
            raise DatasetError(
                f"{path}: names: expected the classes 0..{len(value) - 1}, found "
                f"{', '.join(map(str, value))!s:.80}. Number the classes from 0, without gaps"
            )
        names = [value[str(index)] for index in range(len(value))]
    elif str(value).strip().lower() in NOTHING:
        return []
    else:
        file = find_listed(str(value), os.path.dirname(path))
        if file is None:
            raise DatasetError(
                f"{path}: names: expected a list, a dict or a file of names, found {value!r:.80}"
            )
        names = read_names(file)
    strange = [name for name in names if not isinstance(name, str) or not name.strip()]
    if strange:
        raise DatasetError(f"{path}: names: expected text, found {strange[0]!r:.80}")
    return [name.strip() for name in names]


def read_names(path: str) -> list[str]:
    """Return the class names in a file such as classes.txt, with one name per line.

    Raises:
        DatasetError: the file cannot be read.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _checked_names(names: list[str], count: str, path: str) -> tuple[str, ...]:
    names = different_names(names, path)
    if count.strip().lower() in NOTHING:
        return tuple(names)
    if not count.strip().isdigit():
        raise DatasetError(f"{path}: nc: expected the number of classes, found {count!r:.80}")
    with reading_entry(path):
        if names and len(names) != int(count):
            raise DatasetError(
                f"{path}: nc is {count}, but names has {len(names)} classes: "
                f"{', '.join(names)!s:.200}. Make them agree."
            )
    return tuple(names) or tuple(f"class {index}" for index in range(int(count)))


def different_names(names: list[str], path: str) -> list[str]:
    """Check that class names differ, and return them. Inside :func:`collecting_entry_errors`, equal
    names get their index.

    Raises:
        DatasetError: two class names are equal.
    """
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        with reading_entry(path):
            if first.setdefault(name, index) != index:
                raise DatasetError(
                    f"{path}: classes {first[name]} and {index} are both called {name!r}: rename "
                    "one, or give their boxes the same class"
                )
    return [n if first[n] == index else f"{n} ({index})" for index, n in enumerate(names)]


def _keypoints(shape: Any, path: str) -> int:
    if shape is None:
        return 0
    if not (isinstance(shape, list) and len(shape) == 2 and all(str(n).isdigit() for n in shape)):
        raise DatasetError(f"{path}: kpt_shape: expected two numbers, found {shape!r:.80}")
    return int(shape[0]) * int(shape[1])


def find_listed(written: str, *folders: str) -> str | None:
    """Find the file or folder for a path in a data.yaml.

    Args:
        written: the path. Exports of Roboflow start with "../" although paths are relative to the
            folder of the file. Other paths start with folders of another computer. So leading
            parts are removed until the path exists.
        folders: the path is relative to one of them.

    Returns:
        The first path that exists, or None.
    """
    plain = os.path.expanduser(written.strip().replace("\\", "/"))
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    if len(parts) > 1 and not os.path.splitext(parts[-1])[1]:
        ends.pop()  # a folder such as "images" alone may be that of another split
    for name in (plain, *ends):
        for folder in folders:
            path = os.path.normpath(os.path.join(folder, name))
            if os.path.exists(path):
                return path
    return None
