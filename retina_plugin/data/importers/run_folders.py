"""Leave out the files of runs and plans in a data set's folder: a run may be inside its data."""

from __future__ import annotations

import os
from collections.abc import Iterator

# files of a run folder; each has config keys of this project
CONFIGS = ("config.yaml", "plan.yaml")
MARK = b"RETINA_PLUGIN"
PICTURE = "predictions.png"  # the only image that a run writes into its own folder
PLANNED = (".train.json", ".val.json")  # COCO files beside PLAN.yaml


def is_run_folder(folder: str) -> bool:
    """Return whether a folder is that of a run or plan: it has a config of this project."""
    return any(_is_config(os.path.join(folder, name)) for name in CONFIGS)


def is_planned(file: str) -> bool:
    """Return whether a JSON file belongs to a plan: it is PLAN.train.json beside PLAN.yaml."""
    ends = [end for end in PLANNED if file.endswith(end)]
    return any(_is_config(file.removesuffix(end) + ".yaml") for end in ends)


def _is_config(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return MARK in file.read()


def walk_data(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below ``folder``, and itself, with the names of its files, both sorted.

    Hidden folders and run folders are left out. Symbolic links to folders elsewhere are followed.
    If ``folder`` itself is a run folder, the picture of the run is left out.
    """
    seen = {os.path.realpath(folder)}
    for base, folders, files in os.walk(folder, followlinks=True):
        names = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in names if _is_new(os.path.join(base, name), seen)]
        has_picture = PICTURE in files and is_run_folder(base)
        yield base, sorted(name for name in files if not (has_picture and name == PICTURE))


def _is_new(folder: str, seen: set[str]) -> bool:
    """Return whether to read a folder. Add the target of a link to ``seen``, so that no link leads
    to a folder that is read already, or in a circle."""
    if is_run_folder(folder):
        return False
    if os.path.islink(folder):
        target = os.path.realpath(folder)
        if any(os.path.commonpath((target, path)) in (target, path) for path in seen):
            return False
        seen.add(target)
    return True
