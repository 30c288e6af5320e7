"""Build Lightning's trainer from a config."""

from __future__ import annotations

import os
from typing import Any, Literal
from urllib.parse import urlparse

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar

from retina_plugin.config import leaves
from retina_plugin.engine.best_model import BestModel
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.host import Request
from retina_plugin.engine.prepare import Run
from retina_plugin.engine.summary import LOG_PERIOD
from retina_plugin.engine.trackers import RunTrackers
from retina_plugin.lit.average import AverageCallback
from retina_plugin.lit.best import BestModelCallback
from retina_plugin.lit.budget import BudgetCallback
from retina_plugin.lit.checkpoints import CheckpointCallback, CheckpointFiles
from retina_plugin.lit.configured import build_callbacks, build_loggers, check_monitors
from retina_plugin.lit.loggers import EventsLogger, MetricsLogger
from retina_plugin.lit.progress import StepProgressBar
from retina_plugin.lit.scalars import MeanScalarsCallback
from retina_plugin.lit.stop import StopCallback
from retina_plugin.lit.trackers import TrackerCallback, TrackerLogger
from retina_plugin.lit.training_images import TrainingImagesCallback


def build_trainer(
    run: Run, request: Request, *, trackers: RunTrackers, budget: Budget | None = None
) -> lightning.Trainer:
    """Build the trainer of a run, with the callbacks and loggers that the config adds.

    Args:
        run: the checked run.
        request: the flags of the run.
        trackers: the trackers of the run, possibly none.
        budget: the time budget of the run.

    Raises:
        ConfigError: a callback or logger cannot be created, or a callback monitors a value that is
            not logged.
    """
    cfg = run.cfg
    if request.num_machines > 1:
        _set_rendezvous(request)
    device, processes = torch.device(cfg.MODEL.DEVICE), max(request.num_gpus, 1)
    events, added = EventsLogger(cfg.OUTPUT_DIR), build_loggers(cfg)
    for logger in added:
        logger.log_hyperparams(dict(leaves(cfg)))
    callbacks = _callbacks(run, request, events, budget)
    if trackers:
        added.append(TrackerLogger(trackers))
        callbacks.insert(0, TrackerCallback(trackers))
    return lightning.Trainer(
        accelerator=device.type,
        devices=processes if device.index is None else [device.index],
        num_nodes=request.num_machines,
        strategy="ddp" if processes * request.num_machines > 1 else "auto",
        precision=_precision(cfg, device),
        max_steps=cfg.SOLVER.MAX_ITER,
        max_epochs=-1,
        val_check_interval=cfg.TEST.EVAL_PERIOD or cfg.SOLVER.MAX_ITER + 1,
        check_val_every_n_epoch=None,  # val_check_interval counts steps, not batches of an epoch
        num_sanity_val_steps=0,
        benchmark=cfg.CUDNN_BENCHMARK,
        callbacks=callbacks,
        plugins=[CheckpointFiles(cfg.MODEL.RETINA_PLUGIN.SOLVER.KEEP, budget=budget)],
        default_root_dir=cfg.OUTPUT_DIR,
        logger=[MetricsLogger(cfg.OUTPUT_DIR), events, *added],
        log_every_n_steps=LOG_PERIOD,
        # True makes Lightning add its own Checkpoint if the callbacks have none. CheckpointCallback
        # is not a subclass of Lightning's Checkpoint.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _callbacks(
    run: Run, request: Request, events: EventsLogger, budget: Budget | None
) -> list[Callback]:
    """Create the callbacks in their order. Those of the config come before CheckpointCallback,
    which saves their state, and before MeanScalarsCallback, which checks whether they have ended
    the training."""
    cfg = run.cfg
    checkpoints = CheckpointCallback(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD)
    added = build_callbacks(cfg)
    if not request.eval_only:
        check_monitors(added, cfg, run.class_names)
    callbacks: list[Callback] = []
    if not any(isinstance(callback, ProgressBar) for callback in added):
        callbacks.append(StepProgressBar())
    if cfg.VIS_PERIOD > 0:
        callbacks.append(TrainingImagesCallback(events, cfg.VIS_PERIOD))
    if not request.eval_only:
        callbacks.append(AverageCallback())
        callbacks.append(BestModelCallback(BestModel(cfg, budget=budget)))
    callbacks += [*added, checkpoints, StopCallback(checkpoints)]
    if budget is not None:
        callbacks.append(BudgetCallback(budget))
    return [*callbacks, MeanScalarsCallback()]


def _precision(cfg: Any, device: torch.device) -> Literal["32-true", "16-mixed", "bf16-mixed"]:
    if not cfg.SOLVER.AMP.ENABLED:
        return "32-true"
    return "16-mixed" if device.type == "cuda" else "bf16-mixed"


def _set_rendezvous(request: Request) -> None:
    """Set the environment variables from which Lightning reads the address of the main process and
    the number of this machine."""
    url = urlparse(request.dist_url)
    os.environ.update(
        MASTER_ADDR=url.hostname or "",
        MASTER_PORT=str(url.port),
        NODE_RANK=str(request.machine_rank),
    )
