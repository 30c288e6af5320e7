"""Training and evaluation on Detectron2, from the arguments of ``tools/train_net.py``."""

from __future__ import annotations

import argparse
import functools
import logging
from typing import Any

import torch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage

from retina_plugin.config.bounds import warn_of_conflicts
from retina_plugin.config.errors import ConfigError
from retina_plugin.d2.checkpoint import Checkpointer, Metadata
from retina_plugin.d2.config import get_cfg, portable
from retina_plugin.d2.datasets import boxes_of_classes, check_datasets, class_names, records_of
from retina_plugin.d2.logs import MetricsFile, log_of_run
from retina_plugin.d2.trainer import Trainer
from retina_plugin.data.fingerprint import fingerprint
from retina_plugin.engine import stopping
from retina_plugin.engine.checks import (
    check_run,
    resolve_alpha,
    resolve_num_classes,
    resolve_prior,
)
from retina_plugin.engine.ranks import free_port, joined, run_ranks
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_folder import Host, check_folder, enter_folder
from retina_plugin.engine.run_images import prepare_images
from retina_plugin.engine.space import require_space
from retina_plugin.report import beyond_limit, finish

HOST = Host("detectron2", get_cfg, dump=lambda cfg: portable(cfg).dump())


def run(args: argparse.Namespace) -> None:
    """Train or evaluate in ``args.num_gpus`` processes on each of ``args.num_machines``.

    Raises:
        ConfigError: several processes without GPUs, which Detectron2's trainer cannot do.
    """
    if args.num_gpus * args.num_machines > 1 and not torch.cuda.is_available():
        raise ConfigError(
            f"--num-gpus {args.num_gpus} on {args.num_machines} machines: Detectron2 trains in "
            "several processes on GPUs only, and "
            "there is none here. Use one process, or --host lightning, which trains in several "
            "processes on CPUs too."
        )
    if args.num_gpus * args.num_machines > 1:
        configured(args)  # so that a mistake is reported once, before the processes start
        url = f"tcp://127.0.0.1:{free_port()}" if args.dist_url == "auto" else args.dist_url
        run_ranks(_one_of_several, args.num_gpus, args, url)
    else:
        _worker(args)


def _one_of_several(rank: int, args: argparse.Namespace, url: str) -> None:
    with joined(rank, args, url, backend="nccl"):
        comm.create_local_process_group(args.num_gpus)
        _worker(args)


def configured(args: argparse.Namespace) -> Any:
    """The config of a run, checked as far as that can be done without its data."""
    import retina_plugin  # noqa: F401  a spawned process has registered nothing yet

    cfg = get_cfg()
    read_config(cfg, args.config_file, args.opts)
    check_run(cfg, num_gpus=args.num_gpus, num_machines=args.num_machines)
    return cfg


def setup(args: argparse.Namespace) -> tuple[Any, list[str], dict[str, Any] | None]:
    """The checked and frozen config of a run, the names of the classes, and in the main process of
    a training the fingerprint of its data; nothing is written."""
    cfg = configured(args)
    if comm.is_main_process():
        check_folder(cfg, args, HOST)
        if not args.eval_only:
            warn_of_conflicts(cfg)
    names = resolve_num_classes(cfg, class_names, eval_only=args.eval_only)
    check_datasets(cfg, eval_only=args.eval_only)
    records = functools.cache(records_of)  # a function of the user may take long
    checked = prepare_images(cfg, args, HOST, records, show=comm.is_main_process())
    if comm.is_main_process():
        print(checked, flush=True)
    for resolve in () if args.eval_only else (resolve_alpha, resolve_prior):
        table = resolve(cfg, names, boxes_of_classes)
        if table and comm.is_main_process():
            print(table, flush=True)
    beyond = beyond_limit(cfg)
    if beyond and comm.is_main_process():
        print(beyond, flush=True)
    cfg.freeze()
    trains = comm.is_main_process() and not args.eval_only
    return cfg, names, fingerprint(map(records, cfg.DATASETS.TRAIN)) if trains else None


def _worker(args: argparse.Namespace) -> None:
    cfg, names, data = setup(args)
    main = comm.is_main_process()
    with enter_folder(
        cfg,
        args,
        HOST,
        class_names=names,
        training_data=data,
        main=main,
        ready=comm.synchronize,
    ) as checkpoint:
        with log_of_run(cfg.OUTPUT_DIR):
            _start(cfg, args)
            results = (
                _evaluate(cfg, checkpoint) if args.eval_only else _train(cfg, checkpoint, data)
            )
        if main and cfg.DATASETS.TEST:
            finish(cfg, results)


def _start(cfg: Any, args: argparse.Namespace) -> None:
    """What Detectron2's ``default_setup`` does, but for ``log.txt`` and ``config.yaml``: seeds and
    settings of CUDA."""
    rank, logger = comm.get_rank(), logging.getLogger("detectron2")
    logger.info(
        f"Process {rank} of {comm.get_world_size()}, arguments: {args}\n{collect_env_info()}"
    )
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_no_traceback)
    logger.info(f"Config:\n{cfg.dump()}")
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only
    if cfg.get("FLOAT32_PRECISION") and torch.cuda.is_available():
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)
        torch.backends.cudnn.allow_tf32 = cfg.FLOAT32_PRECISION != "highest"
    # Derivatives of easy anchors and their products reach subnormal numbers, which are very slow on
    # CPUs.
    torch.set_flush_denormal(True)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """Detectron2 logs the traceback of every error in training, which the tool tells in one
    line."""
    return record.msg != "Exception during training:"


def _train(cfg: Any, resumed: str | None, data: dict[str, Any] | None) -> dict[str, Any]:
    trainer = Trainer(cfg, training_data=data)
    trainer.start(resumed)
    if comm.is_main_process():
        require_space(cfg, trainer.model, first_step=trainer.start_iter)
    with stopping.deferred():
        trainer.train()
    return trainer._last_eval_results  # every run ends with an evaluation; empty without a test set


def _evaluate(cfg: Any, checkpoint: str) -> dict[str, Any]:
    model = Trainer.build_model(cfg)
    metadata = Metadata(class_names(cfg.DATASETS.TEST[0]), model, cfg)
    checkpointer = Checkpointer(model, save_dir=cfg.OUTPUT_DIR, metadata=metadata)
    checkpointer.load(checkpoint, checkpointables=[])
    with stopping.deferred():
        results = Trainer.test(cfg, model)
    if comm.is_main_process() and results:
        with EventStorage() as storage:
            storage.put_scalars(smoothing_hint=False, **flatten_results_dict(results))
            MetricsFile(cfg.OUTPUT_DIR).write()
    return results
