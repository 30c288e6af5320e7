"""What ``--resume`` continues, and which config keys may differ from those that the run was started
with."""

from __future__ import annotations

import fnmatch
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from retina_plugin.checkpoint import WeightsError, class_names_of, metadata_of, read_checkpoint
from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import atomic_file, write_atomically
from retina_plugin.engine.checkpoints import FINAL, LAST_CHECKPOINT, list_models, newest_checkpoint

CONFIG = "config.yaml"

# Keys that a resumed run takes from its new config, as patterns: they act from the next step on,
# and no state in the checkpoint depends on them. Every other key must have the value that the run
# was started with.
CHANGEABLE_KEYS = (
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    # the learning rate; see use_learning_rates
    "SOLVER.BASE_LR",
    "SOLVER.BASE_LR_END",
    "SOLVER.LR_SCHEDULER_NAME",
    "SOLVER.STEPS",
    "SOLVER.GAMMA",
    "SOLVER.NUM_DECAYS",
    "SOLVER.RESCALE_INTERVAL",
    "SOLVER.WARMUP_*",
    "SOLVER.CLIP_GRADIENTS.*",
    # evaluation and inference
    "DATASETS.TEST",
    "TEST.*",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    "MODEL.RETINANET.*_TEST",
    "MODEL.RETINA_PLUGIN.INFERENCE_DTYPE",
    "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS",
    "MODEL.RETINA_PLUGIN.TEST.*",
    # what auto made of these is compared itself: FOCAL_LOSS_ALPHA and PRIOR_PROB
    "MODEL.RETINA_PLUGIN.AUTO_*",
    # how the run is carried out and shown
    "MODEL.DEVICE",
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "VIS_PERIOD",
    "MODEL.RETINA_PLUGIN.LIGHTNING.*",
)
# A folder of a run may be moved.
IGNORED_KEYS = ("OUTPUT_DIR",)
# Values that name files: annotations.json@image_folder.
PATHS = ("DATASETS.TRAIN", "DATASETS.TEST")


def checkpoint_to_resume(
    cfg: Any,
    *,
    host: str,
    class_names: Sequence[str],
    training_data: Mapping[str, Any] | None = None,
    get_cfg: Callable[[], Any],
) -> str | None:
    """The checkpoint of ``OUTPUT_DIR`` from which a run continues. Prints it, its step and the keys
    that have a new value.

    Args:
        cfg: the config of the request, with its ``auto`` values resolved. Nothing of it has been
            written yet.
        host: "detectron2" or "lightning".
        class_names: K names, of the training set.
        training_data: see :mod:`retina_plugin.data.fingerprint`; None if it is not known.
        get_cfg: gives the host's default config, into which the ``config.yaml`` of the run is read.

    Returns:
        A path; None when there is no checkpoint, so that training starts at step 0.

    Raises:
        WeightsError: a checkpoint that cannot be read, or that this host cannot continue.
        ConfigError: the request is another run; the message names all keys that must not differ, or
            what differs in the data.
    """
    folder = cfg.OUTPUT_DIR
    path = newest_checkpoint(folder)
    if path is None:
        _require_no_model(folder)
        print(f"resume: {folder} has no checkpoint, training starts at step 0", flush=True)
        return None
    checkpoint = read_checkpoint(path)
    _require_written_by(checkpoint, path, host)
    step = completed_steps(checkpoint)
    applied = _changed_keys(cfg, load_run_config(folder, get_cfg))
    _require_classes(metadata_of(checkpoint), class_names, path)
    _require_data(metadata_of(checkpoint).get("training_data"), training_data, path)
    if step > cfg.SOLVER.MAX_ITER:
        raise ConfigError(
            f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, but {path} has already seen {step} steps. "
            f"Set it to {step} to evaluate "
            "the checkpoint, or higher to continue."
        )
    finished = step == cfg.SOLVER.MAX_ITER
    if finished:
        path = _copy_to_final(path)
    how = (
        f"has seen all {step} steps and is evaluated"
        if finished
        else f"continues at step {step} of {cfg.SOLVER.MAX_ITER}"
    )
    print("\n".join([f"resume: {path} {how}", *applied]), flush=True)
    return path


def _copy_to_final(path: str) -> str:
    """The checkpoint of a run's last step as ``model_final.pth``, which may be missing, or older
    where the run was made longer."""
    final = os.path.join(os.path.dirname(path), FINAL)
    if path != final:
        with atomic_file(final) as draft:
            shutil.copyfile(path, draft)
        write_atomically(os.path.join(os.path.dirname(path), LAST_CHECKPOINT), FINAL)
    return final


def checkpoint_to_evaluate(cfg: Any, *, resume: bool) -> str:
    """The checkpoint that ``--eval-only`` evaluates: with ``--resume`` the newest of
    ``OUTPUT_DIR``, else ``MODEL.WEIGHTS``.

    Raises:
        ConfigError: there is none, and weights from the random generator would be evaluated.
        WeightsError: checkpoints of ``OUTPUT_DIR`` that cannot be read.
    """
    path = newest_checkpoint(cfg.OUTPUT_DIR) if resume else cfg.MODEL.WEIGHTS
    if path:
        return path
    if resume:
        raise ConfigError(
            f"--eval-only --resume: OUTPUT_DIR {cfg.OUTPUT_DIR} has no checkpoint. Give the folder "
            "of a run, or leave --resume out "
            "and give MODEL.WEIGHTS path/to/model_final.pth."
        )
    raise ConfigError(
        "--eval-only needs a checkpoint: add MODEL.WEIGHTS path/to/model_final.pth, or --resume "
        "for OUTPUT_DIR's last"
    )


def wrong_host_error(path: str, host: str) -> WeightsError:
    """The error of resuming a checkpoint of ``host``, "Detectron2" or "Lightning", on the other
    one."""
    return WeightsError(
        f"{path} was written by {host}: resume it with --host {host.lower()}, or start from its "
        f"weights: MODEL.WEIGHTS {path}"
    )


def completed_steps(checkpoint: Mapping[str, Any]) -> int:
    """Steps that a checkpoint of a run has seen; 0 where it does not say."""
    iteration = checkpoint.get("iteration", -1)
    return iteration + 1 if isinstance(iteration, int) else 0


def load_run_config(folder: str, get_cfg: Callable[[], Any]) -> Any | None:
    """The config with which the run of a folder was started; None if the file is missing.

    Raises:
        ConfigError: a file that cannot be read.
    """
    path = os.path.join(folder, CONFIG)
    if not os.path.isfile(path):
        return None
    cfg = get_cfg()
    cfg.merge_from_file(path)
    return cfg


def use_learning_rates(
    optimizer: torch.optim.Optimizer, scheduler: Any, rates: Sequence[float]
) -> None:
    """Let a resumed optimizer and scheduler go on with the learning rates of the config in place of
    the checkpoint's.

    Args:
        optimizer: has the state of the checkpoint.
        scheduler: a ``torch.optim.lr_scheduler.LRScheduler`` with the state of the checkpoint and
            the config's schedule.
        rates: of each parameter group, before the schedule; equal ones change nothing.
    """
    scheduler.base_lrs = list(rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # get_lr warns where it is not called by step
        now = scheduler.get_lr()
    for group, rate, lr in zip(optimizer.param_groups, rates, now, strict=True):
        group["initial_lr"], group["lr"] = rate, lr


def _require_no_model(folder: str) -> None:
    """A run from step 0 is none that continues the models of a folder, and would end beside
    them."""
    models = list_models(folder)
    if models:
        path = os.path.join(folder, models[0])
        raise ConfigError(
            f"--resume: {folder} has {', '.join(models[:3])} and no checkpoint to continue from, "
            f"model_final.pth or one with the number of its step. Start from its weights: "
            f"MODEL.WEIGHTS {path} with another OUTPUT_DIR and without --resume."
        )


def _require_written_by(checkpoint: Mapping[str, Any], path: str, host: str) -> None:
    if "pytorch-lightning_version" in checkpoint:
        writer = "Lightning"
    elif "trainer" in checkpoint:
        writer = "Detectron2"
    else:
        raise WeightsError(
            f"{path} has weights alone, no optimizer and no step to continue from. Start from it: "
            f"MODEL.WEIGHTS {path} with "
            "another OUTPUT_DIR and without --resume."
        )
    if writer.lower() != host:
        raise wrong_host_error(path, writer)


def _require_classes(metadata: Mapping[str, Any], class_names: Sequence[str], path: str) -> None:
    theirs = class_names_of(metadata, path) or list(class_names)
    if theirs != list(class_names):
        raise ConfigError(
            f"{path} was trained on the classes {', '.join(theirs)}, but DATASETS.TRAIN has "
            f"{', '.join(class_names)}: "
            "that is another run. Give DATASETS.TRAIN the classes of the run, or start from its "
            "weights: "
            f"MODEL.WEIGHTS {path} with another OUTPUT_DIR and without --resume."
        )


def _require_data(theirs: Any, ours: Mapping[str, Any] | None, path: str) -> None:
    """Checkpoints that do not say on which data they were trained, as those of version 0.1, are not
    compared."""
    if not isinstance(theirs, Mapping) or ours is None or theirs == ours:
        return
    before, now = (
        f"{data.get('images')} images with {data.get('boxes')} boxes" for data in (theirs, ours)
    )
    if before == now:
        now = "as many, with other names, sizes, boxes or classes, or in another order"
    raise ConfigError(
        f"--resume: the training data have changed: {path} was trained on {before}, DATASETS.TRAIN "
        f"now has {now}. Put the annotations of the run back, or start a new run from its weights: "
        f"MODEL.WEIGHTS {path} with another OUTPUT_DIR and without --resume."
    )


def _changed_keys(cfg: Any, run_cfg: Any | None) -> list[str]:
    """A line for each key that has a new value.

    Raises:
        ConfigError: keys that cannot have a new value in the middle of a run.
    """
    if run_cfg is None:
        return [
            f"{cfg.OUTPUT_DIR} has no {CONFIG}: the settings are not compared with those that "
            "the run started with"
        ]
    before = dict(leaves(run_cfg))
    changed = {
        key: (before.get(key), value)
        for key, value in leaves(cfg)
        if key not in IGNORED_KEYS and _comparable(key, before.get(key)) != _comparable(key, value)
    }
    lines = {key: f"  {key}: {old!r} -> {new!r}" for key, (old, new) in changed.items()}
    refused = [
        key
        for key in changed
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in CHANGEABLE_KEYS)
    ]
    if refused:
        raise ConfigError(
            _refused_keys_message(cfg.OUTPUT_DIR, [lines[key] for key in refused], refused)
        )
    return list(lines.values())


def _refused_keys_message(folder: str, lines: Sequence[str], keys: Sequence[str]) -> str:
    path = os.path.join(folder, CONFIG)
    moved = f" If files of DATASETS.TRAIN were only moved, write their new place into {path}."
    return "\n".join(
        [
            f"--resume: {folder} has another run, these keys cannot change on the way:",
            *lines,
            f"Give them the values of the run (--config-file {path} has all), or start a new run "
            "with another OUTPUT_DIR, from "
            f"its weights if you like (MODEL.WEIGHTS).{moved if 'DATASETS.TRAIN' in keys else ''}",
        ]
    )


def _comparable(key: str, value: Any) -> Any:
    """A value as it reads in every spelling: lists for tuples, whole paths for relative ones."""
    if key in PATHS and isinstance(value, (list, tuple)):
        return [_whole_path(name) for name in value]
    return [_comparable("", item) for item in value] if isinstance(value, (list, tuple)) else value


def _whole_path(name: str) -> str:
    if ".json@" not in name:
        return name
    return "@".join(os.path.abspath(os.path.expanduser(part)) for part in name.split("@", 1))
