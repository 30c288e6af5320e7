"""Training and evaluation on Lightning, from the arguments of ``tools/train_net.py``."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import warnings
from typing import Any
from urllib.parse import urlparse

import lightning
import torch

from retina_plugin.builders import build_model
from retina_plugin.checks import resolve_device, resolve_num_classes
from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.data import load_dataset
from retina_plugin.lit.callbacks import Checkpoints, Pictures, Progress, Writer
from retina_plugin.lit.data import Data, training_records
from retina_plugin.lit.module import Module
from retina_plugin.outputs import write_atomically
from retina_plugin.report import finish
from retina_plugin.weights import WeightsError, load_weights, read_checkpoint


def run(args: argparse.Namespace) -> None:
    """Train or evaluate; with several GPUs Lightning starts a process for each."""
    cfg, class_names = setup(args)
    seed = cfg.SEED if cfg.SEED >= 0 else secrets.randbelow(2**31)
    lightning.seed_everything(seed, verbose=False)
    module = Module(build_model(cfg), cfg, class_names=class_names, seed=seed)
    resumed = _last_checkpoint(cfg) if args.resume else None
    trainer = build_trainer(cfg, args)
    if args.eval_only:
        _load_for_evaluation(module, resumed)
    else:
        _train(trainer, module, resumed)
    if module.evaluated_at != trainer.global_step or args.eval_only:
        trainer.validate(module, datamodule=Data(cfg), verbose=False)
    if trainer.is_global_zero:
        finish(cfg, module.results)


def setup(args: argparse.Namespace) -> tuple[Any, list[str]]:
    """The checked and frozen config of a run, written to ``OUTPUT_DIR/config.yaml``, and the names of the classes."""
    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    resolve_device(cfg)
    names = resolve_num_classes(cfg, lambda name: load_dataset(name).class_names, eval_only=args.eval_only)
    world = max(args.num_gpus, 1) * args.num_machines
    if cfg.SOLVER.IMS_PER_BATCH % world:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be shared equally by {world} processes"
        )
    if not args.eval_only:
        training_records(cfg)  # an empty training set ends here, not in a worker process
    cfg.freeze()
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    write_atomically(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
    _quiet()
    return cfg, names


def _quiet() -> None:
    """Silence what Lightning says of its own workings; errors and warnings of this project stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    # Derivatives of easy anchors and their products reach subnormal numbers, which are very slow on CPUs.
    torch.set_flush_denormal(True)


def build_trainer(cfg: Any, args: argparse.Namespace) -> lightning.Trainer:
    """Lightning's trainer for a config and the flags of the command line."""
    if args.num_machines > 1:
        url = urlparse(args.dist_url)
        os.environ.update(MASTER_ADDR=url.hostname or "", MASTER_PORT=str(url.port), NODE_RANK=str(args.machine_rank))
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    devices = max(args.num_gpus, 1)
    writer = Writer(cfg.OUTPUT_DIR)
    callbacks = [writer, Checkpoints(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD), Progress()]
    if cfg.VIS_PERIOD > 0:
        callbacks.append(Pictures(writer, cfg.VIS_PERIOD))
    precision = ("16-mixed" if on_gpu else "bf16-mixed") if cfg.SOLVER.AMP.ENABLED else "32-true"
    return lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=args.num_machines,
        strategy="ddp" if devices * args.num_machines > 1 else "auto",
        precision=precision,
        max_steps=cfg.SOLVER.MAX_ITER,
        max_epochs=-1,
        val_check_interval=cfg.TEST.EVAL_PERIOD or cfg.SOLVER.MAX_ITER + 1,
        check_val_every_n_epoch=None,  # periods count steps
        num_sanity_val_steps=0,
        benchmark=cfg.CUDNN_BENCHMARK,
        callbacks=callbacks,
        default_root_dir=cfg.OUTPUT_DIR,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _train(trainer: lightning.Trainer, module: Module, resumed: str | None) -> None:
    cfg = module.cfg
    if resumed is None and cfg.MODEL.WEIGHTS:
        load_weights(module.model, cfg.MODEL.WEIGHTS)
    trainer.fit(module, datamodule=Data(cfg), ckpt_path=resumed)


def _load_for_evaluation(module: Module, resumed: str | None) -> None:
    path = resumed or module.cfg.MODEL.WEIGHTS
    if not path:
        raise ConfigError(
            "--eval-only needs a checkpoint: add MODEL.WEIGHTS path/to/model_final.pth, or --resume for OUTPUT_DIR's last"
        )
    load_weights(module.model, path)


def _last_checkpoint(cfg: Any) -> str | None:
    """Path of the newest checkpoint below ``OUTPUT_DIR``; None when there is none.

    Raises:
        WeightsError: it was written by Detectron2, whose optimizer state Lightning cannot continue.
    """
    pointer = os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")
    if not os.path.isfile(pointer):
        return None
    with open(pointer, encoding="utf-8") as file:
        path = os.path.join(cfg.OUTPUT_DIR, file.read().strip())
    if "pytorch-lightning_version" not in read_checkpoint(path):
        raise WeightsError(
            f"{path} was written by Detectron2: resume it with --host detectron2, or start from its weights: MODEL.WEIGHTS {path}"
        )
    return path
