"""Training and evaluation on Detectron2, from the arguments of ``tools/train_net.py``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from typing import Any

import torch
from detectron2.engine import default_setup, launch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, JSONWriter

from retina_plugin.builders import take_pixels_of_timm
from retina_plugin.checks import check_run, resolve_alpha, resolve_device, resolve_num_classes, resolve_prior
from retina_plugin.config import ConfigError
from retina_plugin.d2.checkpoint import Checkpointer, Metadata
from retina_plugin.d2.config import get_cfg, portable
from retina_plugin.d2.datasets import boxes_of_classes, check_datasets, class_names
from retina_plugin.d2.trainer import Trainer
from retina_plugin.outputs import write_atomically
from retina_plugin.report import finish


def run(args: argparse.Namespace) -> None:
    """Train or evaluate in ``args.num_gpus`` processes on each of ``args.num_machines``.

    Raises:
        ConfigError: several processes without GPUs, which Detectron2's trainer cannot do.
    """
    if args.num_gpus * args.num_machines > 1 and not torch.cuda.is_available():
        raise ConfigError(
            f"--num-gpus {args.num_gpus} on {args.num_machines} machines: Detectron2 trains in several processes on GPUs only, and "
            "there is none here. Use one process, or --host lightning, which trains in several processes on CPUs too."
        )
    machines = {"num_machines": args.num_machines, "machine_rank": args.machine_rank, "dist_url": args.dist_url}
    try:
        launch(_worker, args.num_gpus, **machines, args=(args,))
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():  # of several GPUs; this process would wait for them
            process.terminate()
        raise


def setup(args: argparse.Namespace) -> Any:
    """The checked and frozen config of a run, written to ``OUTPUT_DIR/config.yaml`` in a form that either host reads."""
    import retina_plugin  # noqa: F401  a spawned process has registered nothing yet

    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    resolve_device(cfg)
    take_pixels_of_timm(cfg)
    check_run(cfg, num_gpus=args.num_gpus, num_machines=args.num_machines)
    names = resolve_num_classes(cfg, class_names, eval_only=args.eval_only)
    check_datasets(cfg, eval_only=args.eval_only)
    for resolve in () if args.eval_only else (resolve_alpha, resolve_prior):
        table = resolve(cfg, names, boxes_of_classes)
        if table and comm.is_main_process():
            print(table, flush=True)
    cfg.freeze()
    default_setup(cfg, args)
    if comm.is_main_process():
        write_atomically(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), portable(cfg).dump())
    # Derivatives of easy anchors and their products reach subnormal numbers, which are very slow on CPUs.
    torch.set_flush_denormal(True)
    return cfg


def _worker(args: argparse.Namespace) -> None:
    cfg = setup(args)
    results = _evaluate(cfg, args) if args.eval_only else _train(cfg, args)
    if comm.is_main_process() and results:
        finish(cfg, results)


def _train(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
    return trainer._last_eval_results  # every run ends with an evaluation; empty without a test set


def _evaluate(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    if not (cfg.MODEL.WEIGHTS or args.resume):
        raise ConfigError(
            "--eval-only needs a checkpoint: add MODEL.WEIGHTS path/to/model_final.pth, or --resume for OUTPUT_DIR's last"
        )
    model = Trainer.build_model(cfg)
    metadata = Metadata(class_names(cfg.DATASETS.TEST[0]), model)
    checkpointer = Checkpointer(model, save_dir=cfg.OUTPUT_DIR, metadata=metadata)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        with EventStorage() as storage:
            storage.put_scalars(smoothing_hint=False, **flatten_results_dict(results))
            JSONWriter(os.path.join(cfg.OUTPUT_DIR, "metrics.json")).write()
    return results
