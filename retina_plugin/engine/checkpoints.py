"""Write the checkpoints of a run, and find the newest one for ``--resume``; for both hosts."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.files import (
    TEMPORARY_NAME,
    atomic_file,
    require_regular_file,
    write_atomically,
)

logger = logging.getLogger("retina_plugin")
LAST_CHECKPOINT = "last_checkpoint"
FINAL = "model_final.pth"
BEST = "model_best.pth"
CHECKPOINT = re.compile(r"model_(\d+|final)\.pth")
PERIODIC = re.compile(r"model_(\d+)\.pth")
MODEL = re.compile(r"model_.+\.pth")


def checkpoint_name(step: int, steps: int) -> str:
    """Return Detectron2's file name of the checkpoint after ``step`` of ``steps`` steps."""
    return FINAL if step >= steps else f"model_{step - 1:07d}.pth"


def write_checkpoint(content: Mapping[str, Any], path: str) -> None:
    """Write a checkpoint, then its name into the file ``last_checkpoint`` of the same folder.

    Both writes are atomic.

    Args:
        content: the dict to save.
        path: the checkpoint file.

    Raises:
        DiskError: a file cannot be written; earlier checkpoints and ``last_checkpoint`` are
            unchanged.
    """
    with atomic_file(path, size=lambda: saved_size(content)) as draft:
        save_with_checksum(content, draft)
    folder, name = os.path.split(path)
    write_atomically(os.path.join(folder, LAST_CHECKPOINT), name)


def remove_old_checkpoints(path: str, keep: int) -> None:
    """Remove the oldest periodic checkpoints of a folder, so that ``keep`` of them are left.

    Only checkpoints of earlier steps than ``path`` are counted and removed. Those of later steps
    belong to an earlier attempt of the run that was not resumed. ``model_final.pth``,
    ``model_best.pth`` and the file in ``last_checkpoint`` are never removed. A file that cannot be
    removed stays, with a warning.

    Args:
        path: the newest checkpoint, written completely.
        keep: the number of checkpoints to keep, ``path`` included; 0 keeps all.
    """
    folder, newest = os.path.split(path)
    match = CHECKPOINT.fullmatch(newest)
    if not keep or match is None or match[1] == "final":
        return
    numbers = {name: found[1] for name in os.listdir(folder) if (found := PERIODIC.fullmatch(name))}
    before = [name for name, number in numbers.items() if int(number) < int(match[1])]
    before.sort(key=lambda name: int(numbers[name]))
    for name in before[: max(len(before) - keep + 1, 0)]:
        if name != _read_name(folder):
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError as error:
        logger.warning("old checkpoint %s cannot be removed: %s", path, error.strerror or error)


def newest_checkpoint(folder: str, *, report: Callable[[str], None] = logger.warning) -> str | None:
    """Return the checkpoint named in ``last_checkpoint``, else the newest readable one.

    Args:
        folder: ``OUTPUT_DIR`` of a run; need not exist.
        report: called with one message if the checkpoint in ``last_checkpoint`` cannot be used and
            another one is returned.

    Returns:
        A path in ``folder``; None if the folder has neither a checkpoint nor the file
        ``last_checkpoint``.

    Raises:
        WeightsError: the folder has checkpoints or ``last_checkpoint``, but no checkpoint can be
            read.
    """
    if not has_checkpoint(folder):
        return None
    files = _checkpoints(folder)
    try:
        named = _named_checkpoint(folder)
        read_checkpoint(named)
        return named
    except WeightsError as error:
        problems = [str(error)]
        files = [path for path in files if os.path.basename(path) != _read_name(folder)]
    for path in sorted(files, key=_iteration, reverse=True):
        try:
            read_checkpoint(path)
        except WeightsError as error:
            problems.append(str(error))
            continue
        report(
            f"{'; '.join(problems)}. Using {path}, the newest checkpoint of {folder} that is whole."
        )
        return path
    raise WeightsError(
        f"{'; '.join(problems)}. {folder} has no{' other' if files else ''} checkpoint that is "
        "whole. Start again without --resume, or take another OUTPUT_DIR."
    )


def has_checkpoint(folder: str) -> bool:
    """Return whether a folder has a checkpoint, readable or not, or the file ``last_checkpoint``.

    The folder need not exist.
    """
    return bool(_checkpoints(folder)) or os.path.lexists(os.path.join(folder, LAST_CHECKPOINT))


def last_checkpoints(folder: str, number: int) -> list[str]:
    """Return the last checkpoints of a run, oldest first; ``model_final.pth`` is one of them.

    Two checkpoints of one step have the same weights, so each step counts once. A
    ``model_final.pth`` that cannot be read is the newest, so that reading it reports the error.

    Raises:
        WeightsError: the folder has checkpoints of fewer than ``number`` steps.
    """
    of_steps: dict[float, str] = {}
    for path in sorted(_checkpoints(folder)):  # model_final.pth is last
        step = _iteration(path)
        of_steps[step if step >= 0 else math.inf] = path
    if len(of_steps) < number:
        raise WeightsError(
            f"--last: expected checkpoints of {number} steps in {folder}, found {len(of_steps)}. "
            "Ask for fewer (at least 2), or train with a smaller SOLVER.CHECKPOINT_PERIOD, and "
            f"with MODEL.RETINA_PLUGIN.SOLVER.KEEP 0 or at least {number}"
        )
    return [of_steps[step] for step in sorted(of_steps)][-number:]


def list_models(folder: str) -> list[str]:
    """Return the sorted file names ``model_*.pth`` of a folder, without temporary files.

    These are checkpoints and copies such as ``model_best.pth``. The folder need not exist.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if MODEL.fullmatch(name) and not TEMPORARY_NAME.fullmatch(name)]


def _checkpoints(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if CHECKPOINT.fullmatch(name)]


def _read_name(folder: str) -> str:
    """Return the content of ``last_checkpoint``; empty if it cannot be read."""
    path = os.path.join(folder, LAST_CHECKPOINT)
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            return file.read(4096).decode("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _named_checkpoint(folder: str) -> str:
    """Return the path of the checkpoint that ``last_checkpoint`` names.

    Raises:
        WeightsError: ``last_checkpoint`` is missing, or does not name a file of the folder.
    """
    pointer, name = os.path.join(folder, LAST_CHECKPOINT), _read_name(folder)
    try:
        require_regular_file(pointer)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        cause = "is missing" if missing else f"cannot be read: {error.strerror or error}"
        raise WeightsError(f"{pointer} {cause}") from error
    if not name:
        raise WeightsError(f"{pointer} is empty: expected the name of a checkpoint")
    if not name.isprintable() or os.path.basename(name) != name:
        raise WeightsError(
            f"{pointer}: expected the name of a checkpoint in {folder}, found {name[:80]!r}"
        )
    if not os.path.isfile(os.path.join(folder, name)):
        raise WeightsError(f"{pointer} names {name}, which is not a file of {folder}")
    return os.path.join(folder, name)


def _iteration(path: str) -> int:
    """Return the iteration of a checkpoint, from its name or its content; -1 if unknown."""
    match = CHECKPOINT.fullmatch(os.path.basename(path))
    assert match is not None
    if match[1] != "final":
        return int(match[1])
    try:
        found = read_checkpoint(path).get("iteration")
    except WeightsError:
        return -1
    return found if isinstance(found, int) else -1
