"""Choose the checkpoint to resume or evaluate, and check that a resumed run is the same run."""

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
from retina_plugin.config.keys import MINUTES, NODE
from retina_plugin.data.data_path import absolute_name
from retina_plugin.data.evaluation_sets import DATASET_KEYS, VALIDATION
from retina_plugin.data.transforms import TRANSFORMS
from retina_plugin.data.transforms.policies import transform_names
from retina_plugin.engine.budget_state import budget_state, is_finished, planned_steps
from retina_plugin.engine.checkpoints import FINAL, LAST_CHECKPOINT, list_models, newest_checkpoint

CONFIG = "config.yaml"

# Patterns of the keys that may change when a run is resumed. They take effect at the next step, and
# no state in the checkpoint depends on them. Every other key must keep its value.
CHANGEABLE_KEYS = (
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    MINUTES,
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
    VALIDATION,
    f"{NODE}.SOLVER.BEST_METRIC",
    f"{NODE}.SOLVER.PATIENCE",
    f"{NODE}.SOLVER.KEEP",
    "TEST.*",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    "MODEL.RETINANET.*_TEST",
    "MODEL.RETINA_PLUGIN.INFERENCE_DTYPE",
    "MODEL.RETINA_PLUGIN.SUPPRESSOR.*",
    "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS",
    "MODEL.RETINA_PLUGIN.INPUT.CACHE_MEGABYTES",  # samples do not depend on it
    "MODEL.RETINA_PLUGIN.TEST.*",
    # these keys determine FOCAL_LOSS_ALPHA and PRIOR_PROB, which must not change
    "MODEL.RETINA_PLUGIN.AUTO_*",
    # how the run is carried out and shown
    "MODEL.DEVICE",
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "VIS_PERIOD",
    "MODEL.RETINA_PLUGIN.LIGHTNING.*",
    "MODEL.RETINA_PLUGIN.TRACKING.*",
)
# the folder of a run may be moved
IGNORED_KEYS = ("OUTPUT_DIR",)


def checkpoint_to_resume(
    cfg: Any,
    *,
    host: str,
    class_names: Sequence[str],
    training_data: Mapping[str, Any] | None = None,
    get_cfg: Callable[[], Any],
) -> str | None:
    """Return the checkpoint of ``OUTPUT_DIR`` from which a run continues.

    Also prints its path, its step and the keys whose values have changed.

    Args:
        cfg: the new config, with its ``auto`` values resolved. ``config.yaml`` must still be the
            one of the previous start.
        host: "detectron2" or "lightning".
        class_names: the K class names of the training set.
        training_data: fingerprint of the training sets, see :mod:`retina_plugin.data.fingerprint`;
            None if unknown.
        get_cfg: returns the host's default config.

    Returns:
        A path, or None if there is no checkpoint and training starts at step 0.

    Raises:
        WeightsError: no checkpoint can be read, or the other host wrote it.
        ConfigError: a key that must not change, the classes or the training data have changed.
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
    finished = is_finished(cfg, checkpoint, step=step)
    if step > cfg.SOLVER.MAX_ITER and budget_state(cfg, checkpoint) is None:
        raise ConfigError(
            f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, but {path} was trained for {step} steps. "
            f"Set it to {step} to evaluate the checkpoint, or to a larger number to continue."
        )
    if finished:
        path = _copy_to_final(path)
    how = (
        f"was trained for all {step} steps and is now evaluated{_how_to_continue(cfg, checkpoint)}"
        if finished
        else f"continues at step {step} of {planned_steps(cfg, checkpoint)}"
    )
    print("\n".join([f"resume: {path} {how}", *applied]), flush=True)
    return path


def _how_to_continue(cfg: Any, checkpoint: Mapping[str, Any]) -> str:
    """Return advice for a finished run that had no time budget and is resumed with one."""
    minutes = cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES
    if not minutes or budget_state(cfg, checkpoint) is not None:
        return ""
    return f"; to train on for the {minutes:g} minutes of {MINUTES}, raise SOLVER.MAX_ITER"


def _copy_to_final(path: str) -> str:
    """Copy the checkpoint of the last step to ``model_final.pth``, and return that path.

    ``model_final.pth`` may be missing, or older than ``path`` if ``MAX_ITER`` was raised.
    """
    final = os.path.join(os.path.dirname(path), FINAL)
    if path != final:
        with atomic_file(final) as draft:
            shutil.copyfile(path, draft)
        write_atomically(os.path.join(os.path.dirname(path), LAST_CHECKPOINT), FINAL)
    return final


def checkpoint_to_evaluate(cfg: Any, *, resume: bool) -> str:
    """Return the checkpoint that ``--eval-only`` evaluates.

    With ``resume`` it is the newest one in ``OUTPUT_DIR``, else ``MODEL.WEIGHTS``.

    Raises:
        ConfigError: there is no checkpoint; untrained weights would be evaluated.
        WeightsError: no checkpoint in ``OUTPUT_DIR`` can be read.
    """
    path: str | None = newest_checkpoint(cfg.OUTPUT_DIR) if resume else cfg.MODEL.WEIGHTS
    if path:
        return path
    if resume:
        raise ConfigError(
            f"--eval-only --resume: OUTPUT_DIR {cfg.OUTPUT_DIR} has no checkpoint. Give the folder "
            "of a run, or omit --resume and give MODEL.WEIGHTS path/to/model_final.pth."
        )
    raise ConfigError(
        "an evaluation needs a checkpoint: add MODEL.WEIGHTS path/to/model_final.pth, or evaluate "
        "the last checkpoint of a run with retina eval FOLDER (tools/train_net.py: --eval-only "
        "--resume)"
    )


def wrong_host_error(path: str, host: str) -> WeightsError:
    """Return the error for resuming a checkpoint of ``host`` on the other host.

    Args:
        path: the checkpoint.
        host: the host that wrote it, "Detectron2" or "Lightning".
    """
    return WeightsError(
        f"{path} was written by {host}: resume it with --host {host.lower()}, or start from its "
        f"weights: MODEL.WEIGHTS {path}"
    )


def completed_steps(checkpoint: Mapping[str, Any]) -> int:
    """Return the number of training steps of a checkpoint; 0 if the number is unknown."""
    iteration = checkpoint.get("iteration", -1)
    return iteration + 1 if isinstance(iteration, int) else 0


def load_run_config(folder: str, get_cfg: Callable[[], Any]) -> Any | None:
    """Load the ``config.yaml`` of a run folder; return None if it is missing.

    Raises:
        ConfigError: the file cannot be read.
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
    """Replace the learning rates of a checkpoint by the rates of the new config.

    Args:
        optimizer: the optimizer, with the state of the checkpoint loaded.
        scheduler: a ``torch.optim.lr_scheduler.LRScheduler`` with the schedule of the new config
            and the state of the checkpoint loaded.
        rates: the base learning rate of each parameter group, before the schedule is applied.
    """
    scheduler.base_lrs = list(rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # get_lr warns if it is called outside of step
        now = scheduler.get_lr()
    for group, rate, lr in zip(optimizer.param_groups, rates, now, strict=True):
        group["initial_lr"], group["lr"] = rate, lr


def _require_no_model(folder: str) -> None:
    """Check that a folder without a checkpoint to resume has no other models.

    Raises:
        ConfigError: it has models, from which the user probably wanted to continue.
    """
    models = list_models(folder)
    if models:
        path = os.path.join(folder, models[0])
        raise ConfigError(
            f"--resume: {folder} has {', '.join(models[:3])}, but no checkpoint from which a "
            f"run can continue, such as model_final.pth or model_0000499.pth. Start a new "
            f"run from its weights: MODEL.WEIGHTS {path}, another OUTPUT_DIR, and no --resume."
        )


def _require_written_by(checkpoint: Mapping[str, Any], path: str, host: str) -> None:
    if "pytorch-lightning_version" in checkpoint:
        writer = "Lightning"
    elif "trainer" in checkpoint:
        writer = "Detectron2"
    else:
        raise WeightsError(
            f"{path} has only weights, no optimizer and no step to continue from. Start from it: "
            f"MODEL.WEIGHTS {path} with another OUTPUT_DIR and without --resume."
        )
    if writer.lower() != host:
        raise wrong_host_error(path, writer)


def _require_classes(metadata: Mapping[str, Any], class_names: Sequence[str], path: str) -> None:
    saved = class_names_of(metadata, path) or list(class_names)
    if saved != list(class_names):
        raise ConfigError(
            f"{path} was trained on the classes {', '.join(saved)}, but DATASETS.TRAIN has "
            f"{', '.join(class_names)}. Use a training set with the classes of the run, or start "
            f"a new run from its weights: MODEL.WEIGHTS {path} with another OUTPUT_DIR and "
            "without --resume."
        )


def _require_data(saved: Any, current: Mapping[str, Any] | None, path: str) -> None:
    """Check that the training data have the fingerprint in the checkpoint.

    Checkpoints without a fingerprint, such as those of version 0.1, are not checked.

    Raises:
        ConfigError: the training data have changed.
    """
    if not isinstance(saved, Mapping) or current is None or saved == current:
        return
    before, now = (
        f"{data.get('images')} images with {data.get('boxes')} boxes" for data in (saved, current)
    )
    if before == now:
        now = "the same numbers, but other names, sizes, boxes or classes, or another order"
    raise ConfigError(
        f"--resume: the training data have changed: {path} was trained on {before}, DATASETS.TRAIN "
        f"now has {now}. Put the annotations of the run back, or start a new run from its weights: "
        f"MODEL.WEIGHTS {path} with another OUTPUT_DIR and without --resume."
    )


def _changed_keys(cfg: Any, run_cfg: Any | None) -> list[str]:
    """Return a line to print for each key whose value has changed.

    Raises:
        ConfigError: a key has changed that is not in :data:`CHANGEABLE_KEYS`.
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
    fixed = _keys_of_transforms(cfg)
    refused = [
        key
        for key in changed
        if key in fixed or not any(fnmatch.fnmatchcase(key, pattern) for pattern in CHANGEABLE_KEYS)
    ]
    if refused:
        raise ConfigError(
            _refused_keys_message(cfg.OUTPUT_DIR, [lines[key] for key in refused], refused)
        )
    return list(lines.values())


def _keys_of_transforms(cfg: Any) -> set[str]:
    """Return the keys that the transforms of a run read. Among them can be keys of evaluation, such
    as the side of slices."""
    parts = [TRANSFORMS.part(name) for name in transform_names(cfg)]
    return {source for part in parts for source in part.reads.values() if isinstance(source, str)}


def _refused_keys_message(folder: str, lines: Sequence[str], keys: Sequence[str]) -> str:
    path = os.path.join(folder, CONFIG)
    moved = f" If files of DATASETS.TRAIN were only moved, write their new paths into {path}."
    return "\n".join(
        [
            f"--resume: {folder} has a run with other settings. These keys cannot change:",
            *lines,
            f"Use the settings of the run (--config-file {path}), or start a new run with another "
            "OUTPUT_DIR; MODEL.WEIGHTS can name a checkpoint of this run to start from."
            f"{moved if 'DATASETS.TRAIN' in keys else ''}",
        ]
    )


def _comparable(key: str, value: Any) -> Any:
    """Return a value in the form used for comparison: tuples as lists, paths as absolute paths."""
    if key in DATASET_KEYS and isinstance(value, (list, tuple)):
        return [absolute_name(name) for name in value]
    return [_comparable("", item) for item in value] if isinstance(value, (list, tuple)) else value
