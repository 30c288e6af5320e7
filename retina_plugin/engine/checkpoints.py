"""Checkpoints of a run: how either host writes them, and from which one ``--resume`` continues."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.files import DRAFT, require_regular_file, whole_file, write_atomically

logger = logging.getLogger("retina_plugin")
LAST_CHECKPOINT = "last_checkpoint"
FINAL = "model_final.pth"
CHECKPOINT = re.compile(r"model_(\d+|final)\.pth")
MODEL = re.compile(r"model_.+\.pth")


def checkpoint_name(step: int, steps: int) -> str:
    """The name of a checkpoint that has seen ``step`` of ``steps`` steps, as Detectron2 names
    them."""
    return FINAL if step >= steps else f"model_{step - 1:07d}.pth"


def write_checkpoint(content: Mapping[str, Any], path: str) -> None:
    """Write a checkpoint of a run and then its name into ``last_checkpoint`` beside it, each of
    them whole or not at all.

    Raises:
        DiskError: it cannot be written; the checkpoints before it and ``last_checkpoint`` are as
            they were.
    """
    with whole_file(path, need=lambda: saved_size(content)) as draft:
        save_with_checksum(content, draft)
    folder, name = os.path.split(path)
    write_atomically(os.path.join(folder, LAST_CHECKPOINT), name)


def newest_checkpoint(folder: str, *, report: Callable[[str], None] = logger.warning) -> str | None:
    """The checkpoint that ``last_checkpoint`` names or, if that cannot be used, the newest whole
    one of the folder.

    Args:
        folder: ``OUTPUT_DIR`` of a run; need not exist.
        report: called with one message when the file is not the one that ``last_checkpoint`` names.

    Returns:
        A path below ``folder``; None when the folder has neither a checkpoint nor
        ``last_checkpoint``.

    Raises:
        WeightsError: there are checkpoints, or ``last_checkpoint`` says so, and none is whole.
    """
    if not has_checkpoint(folder):
        return None
    files = _checkpoints(folder)
    try:
        named = _named(folder)
        read_checkpoint(named)
        return named
    except WeightsError as error:
        troubles = [str(error)]
        files = [path for path in files if os.path.basename(path) != _content(folder)]
    for path in sorted(files, key=_iteration, reverse=True):
        try:
            read_checkpoint(path)
        except WeightsError as error:
            troubles.append(str(error))
            continue
        report(
            f"{'; '.join(troubles)}. Using {path}, the newest checkpoint of {folder} that is whole."
        )
        return path
    raise WeightsError(
        f"{'; '.join(troubles)}. {folder} has no{' other' if files else ''} checkpoint that is "
        "whole. Start again "
        "without --resume, or take another OUTPUT_DIR."
    )


def has_checkpoint(folder: str) -> bool:
    """Whether a folder, which need not exist, holds a checkpoint, whole or not, or names one."""
    return bool(_checkpoints(folder)) or os.path.lexists(os.path.join(folder, LAST_CHECKPOINT))


def list_models(folder: str) -> list[str]:
    """Names ``model_*.pth`` in a folder, which need not exist, sorted: checkpoints, and what was
    kept of them, such as ``model_best.pth``; without drafts."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if MODEL.fullmatch(name) and not DRAFT.fullmatch(name)]


def _checkpoints(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if CHECKPOINT.fullmatch(name)]


def _content(folder: str) -> str:
    """What ``last_checkpoint`` says; empty when it cannot be read."""
    path = os.path.join(folder, LAST_CHECKPOINT)
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            return file.read(4096).decode("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _named(folder: str) -> str:
    """The file that ``last_checkpoint`` names.

    Raises:
        WeightsError: it is missing, or it is not the name of a file of the folder.
    """
    pointer, name = os.path.join(folder, LAST_CHECKPOINT), _content(folder)
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
    """The last step that a checkpoint has seen, by its name or else its content; -1 where neither
    says so."""
    number = CHECKPOINT.fullmatch(os.path.basename(path))[1]
    if number != "final":
        return int(number)
    try:
        found = read_checkpoint(path).get("iteration")
    except WeightsError:
        return -1
    return found if isinstance(found, int) else -1
