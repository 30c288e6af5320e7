"""Prepare the folder of a run: keep, resume or rename an earlier run in it; for both hosts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import remove_temporary_files, write_atomically
from retina_plugin.config.keys import MINUTES
from retina_plugin.data import evaluated_sets
from retina_plugin.engine.budget_state import budget_state, is_finished, planned_steps
from retina_plugin.engine.checkpoints import has_checkpoint, list_models, newest_checkpoint
from retina_plugin.engine.folder_lock import NAME as LOCK
from retina_plugin.engine.folder_lock import FolderLock, require_unlocked
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.output_folder import make_folder
from retina_plugin.engine.portable_names import portable_config
from retina_plugin.engine.resume import (
    CONFIG,
    checkpoint_to_evaluate,
    checkpoint_to_resume,
    completed_steps,
    load_run_config,
)
from retina_plugin.engine.run_files import require_usable_run_files
from retina_plugin.engine.run_record import record_start

CHOICES = "--overwrite starts again, another OUTPUT_DIR keeps both"


def check_folder(cfg: Any, request: Request, host: Host) -> None:
    """Check that ``OUTPUT_DIR`` can be used, before the slow checks. Nothing is written.

    :func:`enter_folder` checks it again.

    Raises:
        ConfigError: a path that the run needs is not a regular file, another run works in the
            folder, the folder has an earlier run and neither ``--resume`` nor ``--overwrite`` is
            given, or ``--overwrite`` would rename a file that the run needs.
    """
    require_usable_run_files(cfg)
    if request.eval_only:
        return
    require_unlocked(cfg.OUTPUT_DIR)
    if request.overwrite:
        _require_inputs_outside(cfg.OUTPUT_DIR, _inputs(cfg))
    elif not request.resume:
        require_unused(cfg.OUTPUT_DIR, host)


@contextlib.contextmanager
def enter_folder(
    cfg: Any,
    request: Request,
    host: Host,
    *,
    class_names: Sequence[str],
    training_data: Mapping[str, Any] | None,
    main: bool,
    barrier: Callable[[], None],
) -> Iterator[str | None]:
    """Prepare ``OUTPUT_DIR``, write ``config.yaml``, and lock the folder during the run.

    An evaluation does not lock the folder, and does not change the ``config.yaml`` of a run.

    Args:
        cfg: a frozen config.
        request: the flags of the run.
        host: the host of the run.
        class_names: K names.
        training_data: fingerprint of the training sets, see :mod:`retina_plugin.data.fingerprint`;
            None in evaluations, and in all but the main process.
        main: whether this is the main process of the run. Only this process writes; the others wait
            in ``barrier``.
        barrier: called by every process; returns when all of them have called it. The main process
            calls it when the folder is prepared.

    Yields:
        The checkpoint to resume or to evaluate; None for a run that starts at step 0.

    Raises:
        ConfigError: see :func:`check_folder`,
            :func:`retina_plugin.engine.resume.checkpoint_to_resume` and
            :func:`retina_plugin.engine.resume.checkpoint_to_evaluate`.
        WeightsError: no checkpoint can be read, or the other host wrote it.
    """
    with contextlib.ExitStack() as stack:
        if main:
            if request.eval_only:
                found: str | None = _enter_for_evaluation(cfg, request, host)
            else:
                found = _enter_for_training(cfg, request, host, class_names, training_data, stack)
            barrier()
        else:
            barrier()
            found = _checkpoint_of_main_process(cfg, request)
        yield found


def describe_run(folder: str, host: Host) -> str | None:
    """Return a text about the run in a folder and the flags that can be used; None without a run.

    A ``config.yaml`` without other files is ignored: a run that ends before its first step leaves
    only this file.
    """
    try:
        # the run that resumes the checkpoint prints the report
        path = newest_checkpoint(folder, report=lambda message: None)
    except WeightsError:
        return f"a run without a checkpoint that can be read: {CHOICES}"
    if path is not None:
        return _describe_checkpoint(folder, path, host)
    models = list_models(folder)
    if models:
        return f"{', '.join(models[:3])}{', ...' if models[3:] else ''}: {CHOICES}"
    return _describe_metrics(os.path.join(folder, "metrics.json"))


def _describe_metrics(path: str) -> str | None:
    if not os.path.isfile(path) or not os.path.getsize(path):
        return None
    steps = _logged_steps(path)
    if steps is None:
        return f"a metrics.json of another program: {CHOICES}"
    if steps == 0:
        return f"results of an evaluation: {CHOICES}"
    return f"a run that stopped after step {steps}, before its first checkpoint: {CHOICES}"


def _describe_checkpoint(folder: str, path: str, host: Host) -> str:
    checkpoint = read_checkpoint(path)
    step = completed_steps(checkpoint)
    try:
        run_cfg = load_run_config(folder, host.get_cfg)
    except ConfigError:  # the config of another host or version
        run_cfg = None
    if step == 0:
        return f"{os.path.basename(path)}: {CHOICES}"
    if run_cfg is None:
        return f"a run that stopped at step {step}: --resume continues, {CHOICES}"
    if is_finished(run_cfg, checkpoint, step=step):
        key = "SOLVER.MAX_ITER" if budget_state(run_cfg, checkpoint) is None else MINUTES
        return (
            f"a run that finished after {step} steps: --resume continues with a larger "
            f"{key}, {CHOICES}"
        )
    steps = planned_steps(run_cfg, checkpoint)
    return f"a run that stopped at step {step} of {steps}: --resume continues, {CHOICES}"


def _logged_steps(path: str) -> int | None:
    """Return the number of training steps logged in a ``metrics.json``.

    The result is 0 if the file has only evaluations, and None if no line is from a run.
    """
    steps = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):  # for example the incomplete line of a killed run
                continue
            step = found.get("iteration") if isinstance(found, dict) else None
            if type(step) is int:
                steps = step + 1 if "total_loss" in found else steps or 0
    return steps


def _enter_for_evaluation(cfg: Any, request: Request, host: Host) -> str:
    folder = cfg.OUTPUT_DIR
    path = checkpoint_to_evaluate(cfg, resume=request.resume)
    print(f"evaluation of {path}", flush=True)
    make_folder(folder)
    if not (
        has_checkpoint(folder) or list_models(folder) or os.path.exists(os.path.join(folder, LOCK))
    ):
        _write_config(cfg, host)
    return path


def _enter_for_training(
    cfg: Any,
    request: Request,
    host: Host,
    class_names: Sequence[str],
    training_data: Mapping[str, Any] | None,
    stack: contextlib.ExitStack,
) -> str | None:
    if request.overwrite:
        rename_old_run(cfg.OUTPUT_DIR, host, inputs=_inputs(cfg))
    make_folder(cfg.OUTPUT_DIR)
    stack.enter_context(FolderLock(cfg.OUTPUT_DIR))
    remove_temporary_files(cfg.OUTPUT_DIR)
    found = None
    if request.resume:
        found = checkpoint_to_resume(
            cfg,
            host=host.name,
            class_names=class_names,
            training_data=training_data,
            get_cfg=host.get_cfg,
        )
    else:
        require_unused(cfg.OUTPUT_DIR, host)
    _write_config(cfg, host)
    record_start(cfg, request, host=host.name, resumed=found)
    return found


def _checkpoint_of_main_process(cfg: Any, request: Request) -> str | None:
    """Return the checkpoint that the main process has chosen."""
    if request.resume:
        return newest_checkpoint(cfg.OUTPUT_DIR, report=lambda message: None)
    weights: str = cfg.MODEL.WEIGHTS
    return weights if request.eval_only else None


def _write_config(cfg: Any, host: Host) -> None:
    text = host.dump(portable_config(cfg, cfg.OUTPUT_DIR))
    write_atomically(os.path.join(cfg.OUTPUT_DIR, CONFIG), text)


def require_unused(folder: str, host: Host) -> None:
    """Check that a folder has no run.

    Raises:
        ConfigError: it has one; the message says which flags can be used.
    """
    found = describe_run(folder, host)
    if found:
        raise ConfigError(f"OUTPUT_DIR {folder} holds {found}")


def _inputs(cfg: Any) -> list[str]:
    """Return the weights and data sets that a run reads."""
    return [cfg.MODEL.WEIGHTS, *cfg.DATASETS.TRAIN, *evaluated_sets(cfg)]


def _require_inputs_outside(output_dir: str, inputs: Sequence[str]) -> None:
    """Check that ``--overwrite`` does not rename files that the new run needs.

    Args:
        output_dir: the folder of the run.
        inputs: paths of weights, and names of data sets.

    Raises:
        ConfigError: the current folder or an input is in ``output_dir``.
    """
    folder = os.path.realpath(output_dir)
    parts = [part for name in inputs for part in name.split("@")]
    for path in filter(os.path.exists, [os.curdir, *parts]):
        if os.path.commonpath([folder, os.path.realpath(path)]) == folder:
            what = "the current folder" if path == os.curdir else path
            raise ConfigError(
                f"--overwrite renames OUTPUT_DIR {output_dir}, but {what} is in it: take another "
                "OUTPUT_DIR"
            )


def rename_old_run(output_dir: str, host: Host, *, inputs: Sequence[str]) -> None:
    """Rename a folder that has a run, and make a new, empty folder of that name.

    Args:
        output_dir: the folder; nothing happens without a run in it.
        host: the host of the new run.
        inputs: see :func:`_require_inputs_outside`.

    Raises:
        ConfigError: see :func:`_require_inputs_outside`; or another run works in the folder.
    """
    folder = os.path.realpath(output_dir)  # rename the folder, not a symbolic link to it
    if not os.path.isdir(folder):
        return
    _require_inputs_outside(output_dir, inputs)
    with FolderLock(folder) as lock:
        found = describe_run(folder, host)
        if not found:
            return
        free = next(
            name for n in itertools.count(1) if not os.path.lexists(name := f"{folder}.{n}")
        )
        os.rename(folder, free)
        lock.folder = free
    os.makedirs(folder)
    print(f"overwrite: {found.partition(':')[0]} in {output_dir} is kept as {free}", flush=True)
