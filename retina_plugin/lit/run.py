"""Train and evaluate on Lightning; :mod:`retina_plugin.engine.launch` calls this module."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from typing import Any, TypeVar

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_only

from retina_plugin.checkpoint import (
    load_initial_weights,
    load_weights,
    local_file,
    match_parameters,
    read_checkpoint,
    warn_if_classes_differ,
)
from retina_plugin.config import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import class_counts, final_sets, load_dataset, training_records
from retina_plugin.engine import stopping
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.engine.disk_space import require_space
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.prepare import Run, check_request, prepare
from retina_plugin.engine.ranks import free_port, process_group, run_ranks
from retina_plugin.engine.resume import completed_steps
from retina_plugin.engine.run_budget import (
    build_budget,
    continue_budget,
    write_finished_config,
)
from retina_plugin.engine.run_folder import enter_folder
from retina_plugin.engine.run_thresholds import store_thresholds
from retina_plugin.engine.summary import model_summary, step_summary
from retina_plugin.engine.trackers import RunTrackers, track_run
from retina_plugin.lit.best import BestModelCallback
from retina_plugin.lit.checkpoints import CheckpointCallback
from retina_plugin.lit.configured import check_classes
from retina_plugin.lit.data import DetectionDataModule
from retina_plugin.lit.module import RetinaNetModule
from retina_plugin.lit.trainer import build_trainer
from retina_plugin.modeling.build import build_model
from retina_plugin.report import report_ending, report_results
from retina_plugin.report.page import write_final_report
from retina_plugin.solver import WeightAverage

C = TypeVar("C", bound=lightning.Callback)


def run(cfg: Any, request: Request) -> dict[str, Any]:
    """Train or evaluate; see :class:`retina_plugin.engine.host.HostModule`."""
    # LOCAL_RANK is set if a launcher such as torchrun has started this process
    if request.num_gpus <= 1 or "LOCAL_RANK" in os.environ:
        return _run(cfg, request)
    checked = cfg.clone()
    check_request(checked, request, HOST)  # report errors once, before the ranks start
    backend = "nccl" if checked.MODEL.DEVICE.startswith("cuda") else "gloo"
    several = request.num_machines > 1
    url = request.dist_url if several else f"tcp://127.0.0.1:{free_port()}"
    run_ranks(_run_rank, request.num_gpus, cfg, request, url, backend)
    return {}


def _run_rank(local_rank: int, cfg: Any, request: Request, url: str, backend: str) -> None:
    with process_group(local_rank, request, url, backend=backend):
        rank = torch.distributed.get_rank()
        rank_zero_only.rank = rank  # type: ignore[attr-defined]  # as Lightning does
        _run(cfg, request)


def _check(cfg: Any, request: Request) -> None:
    """Check that Lightning supports the config.

    Raises:
        ConfigError: another meta-architecture, Detectron2's mapper, or a callback or logger that
            cannot be used.
    """
    if cfg.MODEL.META_ARCHITECTURE != "FocalRetinaNet":
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; without Detectron2 it must "
            "be FocalRetinaNet. "
            "_BASE_: configs/Base-RetinaNet.yaml sets it."
        )
    if cfg.MODEL.RETINA_PLUGIN.INPUT.MAPPER == "detectron2":
        raise ConfigError(
            "MODEL.RETINA_PLUGIN.INPUT.MAPPER is detectron2, which Lightning does not have: choose "
            "--host detectron2, or shared"
        )
    check_classes(cfg)


def _records(name: str) -> list[dict[str, Any]]:
    return load_dataset(name).records


def _check_data(cfg: Any, request: Request) -> None:
    if not request.eval_only:
        training_records(cfg)  # report an empty training set before the run starts


HOST = Host(
    name="lightning",
    get_cfg=get_cfg,
    dump=lambda cfg: cfg.dump(),
    check=_check,
    class_names=lambda name: load_dataset(name).class_names,
    records=_records,
    class_counts=lambda name: class_counts(_records(name), load_dataset(name).num_classes),
    check_data=_check_data,
    weights_file=local_file,
)


def _run(cfg: Any, request: Request) -> dict[str, Any]:
    # the main process is the first one of the first machine
    rank = rank_zero_only.rank  # type: ignore[attr-defined]  # set by Lightning
    main = rank == 0 and request.machine_rank == 0
    run = prepare(cfg, request, HOST, main=main)
    _quiet_lightning()
    with enter_folder(
        run.cfg,
        request,
        HOST,
        class_names=run.class_names,
        training_data=run.training_data,
        main=main,
        barrier=_wait_for_ranks,
    ) as checkpoint:
        try:
            with (
                stopping.defer_signals(),
                track_run(
                    run.cfg,
                    resumed=checkpoint is not None,
                    main=main and not request.eval_only,
                ) as trackers,
            ):
                return _train_and_evaluate(run, request, checkpoint, trackers)
        except SystemExit:  # Lightning raises it on Ctrl-C
            stopping.raise_if_requested()
            raise KeyboardInterrupt from None


def _wait_for_ranks() -> None:
    if torch.distributed.is_initialized():  # not yet under torchrun
        torch.distributed.barrier()


def _train_and_evaluate(
    run: Run, request: Request, checkpoint: str | None, trackers: RunTrackers
) -> dict[str, Any]:
    cfg = run.cfg
    seed = cfg.SEED if cfg.SEED >= 0 else secrets.randbelow(2**31)
    lightning.seed_everything(seed)
    budget = None if request.eval_only else build_budget(cfg, started=request.started)
    module = RetinaNetModule(
        build_model(cfg),
        cfg,
        class_names=run.class_names,
        seed=seed,
        training_data=run.training_data,
        budget=budget,
    )
    freeze_unused_parameters(module.model)
    trainer = build_trainer(run, request, trackers=trackers, budget=budget)
    if trainer.is_global_zero:
        print(model_summary(module.model), flush=True)
    if request.eval_only:
        assert checkpoint is not None
        message = stopping.EVALUATION_STOPPED
        warn_if_classes_differ(load_weights(module.model, checkpoint), run.class_names, checkpoint)
        module.evaluated_sets, module.measures_losses = final_sets(cfg), False
        _evaluate(trainer, module, message)
    else:
        message = _train(trainer, module, checkpoint)
        if module.evaluated_at != trainer.global_step:
            _evaluate(trainer, module, message)
        _evaluate_finally(trainer, module, message)
    if final_sets(cfg) and trainer.is_global_zero:
        report_results(cfg, module.results)
        if not request.eval_only:
            report_ending(cfg, module.results, HOST)
    if not request.eval_only and trainer.is_global_zero:
        write_final_report(cfg)
    return module.results


def _evaluate(trainer: lightning.Trainer, module: RetinaNetModule, message: str) -> None:
    """Evaluate the module on its evaluated sets, if there are any."""
    if module.evaluated_sets:
        trainer.validate(module, datamodule=DetectionDataModule(module.cfg), verbose=False)
        _stop_if_requested(message)


def _evaluate_finally(trainer: lightning.Trainer, module: RetinaNetModule, message: str) -> None:
    """Make the evaluation that the run reports, unless it was the last one during training."""
    callback = _callback(trainer, BestModelCallback)
    final = callback.best.final_evaluation(module.cfg, trainer.global_step)
    if final.sets and trainer.is_global_zero:
        store_thresholds(module.cfg, callback.best.last_thresholds(trainer.global_step))
        print(final.note, flush=True)
    if final.is_done:
        return
    trainer.callbacks.remove(callback)  # type: ignore[attr-defined]  # set by Lightning
    load_weights(module.model, final.weights)
    module.average = None
    module.evaluated_sets, module.metrics_prefix = final.sets, final.prefix or None
    module.measures_losses = False
    _evaluate(trainer, module, message)


def _quiet_lightning() -> None:
    """Hide the messages and warnings of Lightning; errors and this project's warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    # Gradients of easy anchors become subnormal numbers, which make CPUs very slow.
    torch.set_flush_denormal(True)


def _stop_if_requested(message: str) -> None:
    stopping.requested_on_any_rank()
    stopping.raise_if_requested(message)


def _train(trainer: lightning.Trainer, module: RetinaNetModule, resumed: str | None) -> str:
    """Train, and return the message for an evaluation that is stopped by a signal.

    Raises:
        Interrupted: a signal stopped the training; the last step is saved in a checkpoint.
    """
    cfg = module.cfg
    first_step = 0
    if resumed:
        checkpoint = read_checkpoint(resumed)
        match_parameters(module.model, checkpoint, resumed)
        first_step = completed_steps(checkpoint)
        if module.budget:
            continue_budget(module.budget, checkpoint, steps=first_step)
            trainer.fit_loop.epoch_loop.max_steps = module.budget.predicted_steps
    elif cfg.MODEL.WEIGHTS:
        match = load_initial_weights(
            module.model,
            cfg.MODEL.WEIGHTS,
            fine_tune=cfg.MODEL.RETINA_PLUGIN.FINE_TUNE,
            class_names=module.class_names,
        )
        rank_zero_only(print)(match, flush=True)
    if cfg.MODEL.RETINA_PLUGIN.SOLVER.EMA:
        module.average = WeightAverage(module.model)
    if trainer.is_global_zero:
        require_space(cfg, module.model, first_step=first_step)
        print(step_summary(cfg, processes=trainer.world_size), flush=True)
    trainer.fit(module, datamodule=DetectionDataModule(cfg), ckpt_path=resumed)
    checkpoints = _callback(trainer, CheckpointCallback)
    # no checkpoint is written if all steps were done before
    path = checkpoints.path or os.path.join(cfg.OUTPUT_DIR, FINAL)
    message = stopping.stopped_message(trainer.global_step, trainer.max_steps, path)
    _stop_if_requested(message)
    if module.budget and trainer.is_global_zero:
        write_finished_config(cfg, module.budget, HOST.dump)
    return message


def _callback(trainer: lightning.Trainer, kind: type[C]) -> C:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning
    return next(callback for callback in callbacks if isinstance(callback, kind))
