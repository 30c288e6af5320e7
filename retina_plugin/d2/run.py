"""Train and evaluate on Detectron2; :mod:`retina_plugin.engine.launch` calls this module."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage

from retina_plugin.checkpoint import load_weights
from retina_plugin.config.errors import ConfigError
from retina_plugin.d2.checkpoint import Checkpointer, CheckpointMetadata, weights_file
from retina_plugin.d2.config import get_cfg, portable
from retina_plugin.d2.datasets import (
    check_datasets,
    class_names,
    count_boxes_of_classes,
    records_of,
)
from retina_plugin.d2.logs import MetricsFile, log_of_run
from retina_plugin.d2.modeling import backbone_names
from retina_plugin.d2.trackers import TrackerWriter
from retina_plugin.d2.trainer import RetinaTrainer
from retina_plugin.data import final_sets
from retina_plugin.engine import stopping
from retina_plugin.engine.disk_space import require_space
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.prepare import check_request, prepare
from retina_plugin.engine.ranks import free_port, process_group, run_ranks
from retina_plugin.engine.run_budget import build_budget, write_finished_config
from retina_plugin.engine.run_folder import enter_folder
from retina_plugin.engine.run_thresholds import store_thresholds
from retina_plugin.engine.summary import flatten_results
from retina_plugin.engine.trackers import RunTrackers, track_run
from retina_plugin.report import report_ending, report_results
from retina_plugin.report.page import write_final_report


def run(cfg: Any, request: Request) -> dict[str, Any]:
    """Train or evaluate; see :class:`retina_plugin.engine.host.HostModule`."""
    if request.num_gpus * request.num_machines <= 1:
        return _run(cfg, request)
    check_request(cfg.clone(), request, HOST)  # report errors once, before the ranks start
    url = f"tcp://127.0.0.1:{free_port()}" if request.dist_url == "auto" else request.dist_url
    run_ranks(_run_rank, request.num_gpus, cfg, request, url)
    return {}


def _run_rank(rank: int, cfg: Any, request: Request, url: str) -> None:
    with process_group(rank, request, url, backend="nccl"):
        comm.create_local_process_group(request.num_gpus)
        _run(cfg, request)


def _check(cfg: Any, request: Request) -> None:
    """Check that Detectron2 supports the config and the flags.

    Raises:
        ConfigError: several processes without GPUs, or callbacks or loggers of Lightning.
    """
    if request.num_gpus * request.num_machines > 1 and not torch.cuda.is_available():
        raise ConfigError(
            f"--num-gpus {request.num_gpus} on {request.num_machines} machines: Detectron2 trains "
            "in several processes on GPUs only, and no GPU is available. Use one process, or "
            "--host lightning, which trains in several processes on CPUs too."
        )
    for key, entries in cfg.MODEL.RETINA_PLUGIN.LIGHTNING.items():
        if entries:
            raise ConfigError(
                f"MODEL.RETINA_PLUGIN.LIGHTNING.{key} names {entries[0]['class_path']}, which "
                "Detectron2's trainer cannot use: choose --host lightning, or "
                f'MODEL.RETINA_PLUGIN.LIGHTNING.{key} "[]"'
            )


HOST = Host(
    name="detectron2",
    get_cfg=get_cfg,
    dump=lambda cfg: portable(cfg).dump(),
    check=_check,
    class_names=class_names,
    records=records_of,
    class_counts=count_boxes_of_classes,
    check_data=lambda cfg, request: check_datasets(cfg, eval_only=request.eval_only),
    backbones=backbone_names,
    weights_file=weights_file,
)


def _run(cfg: Any, request: Request) -> dict[str, Any]:
    main = comm.is_main_process()
    run = prepare(cfg, request, HOST, main=main)
    with enter_folder(
        run.cfg,
        request,
        HOST,
        class_names=run.class_names,
        training_data=run.training_data,
        main=main,
        barrier=comm.synchronize,
    ) as checkpoint:
        with log_of_run(cfg.OUTPUT_DIR):
            _set_up(cfg, request)
            if request.eval_only:
                assert checkpoint is not None
                results = _evaluate(cfg, checkpoint)
            else:
                results = _train(cfg, request, checkpoint, run.training_data, main=main)
        if main and final_sets(cfg):
            report_results(cfg, results)
            if not request.eval_only:
                report_ending(cfg, results, HOST)
        if main and not request.eval_only:
            write_final_report(cfg)
    return results


def _set_up(cfg: Any, request: Request) -> None:
    """Log the environment and the config, set the seeds, and configure CUDA and the CPU.

    This replaces Detectron2's ``default_setup``, which also writes ``log.txt`` and ``config.yaml``.
    """
    rank, logger = comm.get_rank(), logging.getLogger("detectron2")
    logger.info(f"Process {rank} of {comm.get_world_size()}, {request}\n{collect_env_info()}")
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_not_traceback)
    logger.info(f"Config:\n{cfg.dump()}")
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not request.eval_only
    if cfg.get("FLOAT32_PRECISION") and torch.cuda.is_available():
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)
        torch.backends.cudnn.allow_tf32 = cfg.FLOAT32_PRECISION != "highest"
    # Gradients of easy anchors become subnormal numbers, which make CPUs very slow.
    torch.set_flush_denormal(True)


def _is_not_traceback(record: logging.LogRecord) -> bool:
    """Return whether a record is not Detectron2's traceback of an error in training. The tool
    prints the error in one line."""
    return record.msg != "Exception during training:"


def _train(
    cfg: Any,
    request: Request,
    resumed: str | None,
    data: dict[str, Any] | None,
    *,
    main: bool,
) -> dict[str, Any]:
    budget = build_budget(cfg, started=request.started)
    with (
        stopping.defer_signals(),
        track_run(cfg, resumed=resumed is not None, main=main) as trackers,
    ):
        trainer = RetinaTrainer(cfg, training_data=data, budget=budget, trackers=trackers)
        trainer.load_or_resume(resumed)
        if comm.is_main_process():
            require_space(cfg, trainer.model, first_step=trainer.start_iter)
        trainer.train()
        if budget is not None and comm.is_main_process():
            write_finished_config(cfg, budget, HOST.dump)
        return _final_results(cfg, trainer)


def _final_results(cfg: Any, trainer: RetinaTrainer) -> dict[str, Any]:
    """Evaluate the best model if it was chosen on validation sets; else return the results of the
    last evaluation.

    Raises:
        Interrupted: a signal stopped the evaluation.
    """
    steps = trainer.max_iter
    best = trainer.evaluations.best
    final = best.final_evaluation(cfg, steps)
    if comm.is_main_process() and final.sets:
        store_thresholds(cfg, best.last_thresholds(steps))
        print(final.note, flush=True)
    if final.is_done:
        return trainer.evaluations.results or {}
    model = trainer.unwrapped_model
    load_weights(model, final.weights)
    try:
        results = trainer.evaluate(cfg, model, final.sets)
    except stopping.Interrupted as error:
        message = stopping.stopped_message(steps, steps, final.weights)
        raise stopping.Interrupted(error.number, message) from None
    if final.prefix:
        _write_metrics(cfg, results, step=steps, prefix=final.prefix, trackers=trainer.trackers)
    return results


def _evaluate(cfg: Any, checkpoint: str) -> dict[str, Any]:
    model = RetinaTrainer.build_model(cfg)
    metadata = CheckpointMetadata(class_names(final_sets(cfg)[0]), model, cfg)
    checkpointer = Checkpointer(model, save_dir=cfg.OUTPUT_DIR, metadata=metadata)
    checkpointer.load(checkpoint, checkpointables=[])
    with stopping.defer_signals():
        results = RetinaTrainer.evaluate(cfg, model, final_sets(cfg))
    _write_metrics(cfg, results, step=1)
    return results


def _write_metrics(
    cfg: Any,
    results: Mapping[str, Any],
    *,
    step: int,
    prefix: str = "",
    trackers: RunTrackers | None = None,
) -> None:
    scalars = flatten_results(results, prefix)
    if comm.is_main_process() and scalars:
        with EventStorage(step - 1) as storage:
            storage.put_scalars(smoothing_hint=False, **scalars)
            MetricsFile(cfg.OUTPUT_DIR).write()
            if trackers:
                TrackerWriter(trackers).write()
