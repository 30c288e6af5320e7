"""Read COCO annotation files (https://cocodataset.org/#format-data) and check every entry."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable
from typing import Any

from retina_plugin.config.files import require_regular_file
from retina_plugin.data.coco_ids import normalize_ids
from retina_plugin.data.coco_masks import fill_boxes
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number

HOW_TO_NAME = (
    "Name a data set by its path (a folder, an annotation file, PATH:SPLIT or "
    "annotations.json@image_folder), or put it below the folder that the environment variable "
    "DETECTRON2_DATASETS names."
)


Rule = tuple[str, Callable[[Any], bool]]  # description of valid values, and a check for them

ID: Rule = ("a number or text", lambda v: is_number(v) or isinstance(v, str))
TEXT: Rule = ("text", lambda v: isinstance(v, str) and v != "")
BOX: Rule = (
    "[x, y, width, height], finite numbers",
    lambda v: isinstance(v, list) and len(v) == 4 and all(map(is_number, v)),
)
FLAG: Rule = ("0 or 1", lambda v: v in (None, 0, 1))  # None if it is missing
PIXELS: Rule = (
    "a whole number of pixels",
    lambda v: v is None or (is_number(v) and v >= 0 and v % 1 == 0),
)

RULES: dict[str, dict[str, Rule]] = {
    "images": {"id": ID, "file_name": TEXT, "height": PIXELS, "width": PIXELS},
    "annotations": {"id": ID, "image_id": ID, "category_id": ID, "bbox": BOX}
    | dict.fromkeys(("iscrowd", "difficult", "group_of", "is_group_of"), FLAG),
    "categories": {"id": ID, "name": TEXT},
}


def read_json(json_file: str) -> tuple[dict[str, Any], list[str]]:
    """Read an annotation file, check its entries, normalize ids, and add the boxes of masks.

    Returns:
        COCO's lists, where "annotations" may be missing; and a warning with a count for each kind
        of change.

    Raises:
        DatasetError: the file is missing, is not JSON or not in COCO's format, an entry has a
            missing or invalid value, or an id occurs twice.
    """
    content = parse_json(json_file)
    if not _has_coco_lists(content):
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise DatasetError(
            f"{json_file} is not in COCO's layout: expected the lists {', '.join(RULES)}, found "
            f"{reprlib.repr(found)}"
        )
    lines = fill_boxes(content.get("annotations", []))
    for kind in content.keys() & RULES:
        _check_entries(content[kind], kind, json_file)
    return content, normalize_ids(content) + lines


def parse_json(json_file: str) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises:
        DatasetError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        require_regular_file(json_file)
        with open(json_file, "rb") as file:
            raw = file.read()
        return json.loads(raw)
    except FileNotFoundError as error:
        raise DatasetError(
            f"no annotations at {os.path.abspath(json_file)}. {HOW_TO_NAME}"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"annotations {json_file} cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{json_file} is not JSON in {error.encoding} (byte {error.object[error.start]:#04x} "
            f"at {error.start}). "
            "If a program wrote it in a code page such as cp1250, save it as UTF-8: iconv -f "
            "cp1250 -t utf-8."
        ) from error
    except RecursionError as error:
        raise DatasetError(
            f"{json_file} is not JSON that can be read: lists or objects are nested too deep. "
            "Annotation formats have fewer than 20 levels."
        ) from error
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{json_file} is not JSON ({error}); it may be truncated: write it again"
        ) from error
    except ValueError as error:  # an integer with more digits than Python accepts
        raise DatasetError(f"{json_file} has a number that is too long: {error}") from error


def _has_coco_lists(content: Any) -> bool:
    """Return whether content has COCO's lists; "annotations" may be missing, as in test-dev."""
    if not isinstance(content, dict) or not {"images", "categories"} <= set(content):
        return False
    return all(isinstance(content[kind], list) for kind in content.keys() & RULES)


def _check_entries(entries: list[Any], kind: str, json_file: str) -> None:
    """Check all entries of a list. Inside :func:`collecting_entry_errors`, remove invalid ones."""
    index_of: dict[Any, int] = {}
    kept = []
    for index, entry in enumerate(entries):
        with reading_entry(_annotation_id(entry, kind)):
            _check_entry(entry, kind, f"{json_file}: entry {index} of {kind!r}", index_of, index)
            kept.append(entry)
    entries[:] = kept
    with reading_entry():
        if len({isinstance(number, str) for number in index_of}) > 1:
            raise DatasetError(
                f"{json_file}: some ids of {kind!r} are numbers and some are text; use one of the "
                "two"
            )


def _annotation_id(entry: Any, kind: str) -> Any:
    return entry.get("id") if kind == "annotations" and isinstance(entry, dict) else None


def _check_entry(entry: Any, kind: str, where: str, index_of: dict[Any, int], index: int) -> None:
    if not isinstance(entry, dict):
        raise DatasetError(
            f"{where}: expected an object with {', '.join(RULES[kind])}, found "
            f"{reprlib.repr(entry)}"
        )
    for key, (wanted, is_valid) in RULES[kind].items():
        if not is_valid(entry.get(key)):
            found = reprlib.repr(entry[key]) if key in entry else "nothing"
            if key == "bbox" and entry.get("segmentation"):
                mask = reprlib.repr(entry["segmentation"])
                found += f", and a segmentation that gives no box: {mask}"
            raise DatasetError(
                f"{where} (id {entry.get('id')!r}) needs {key}: {wanted}; found {found}. "
                "Correct it."
            )
    if index_of.setdefault(entry["id"], index) != index:
        raise DatasetError(
            f"{where} has id {entry['id']!r}, as entry {index_of[entry['id']]} has; ids must differ"
        )
