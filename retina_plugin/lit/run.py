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
from lightning.pytorch.utilities import rank_zero_only

from retina_plugin.checkpoint import (
    fit_all,
    load_weights,
    read_checkpoint,
    start_from,
    warn_of_other_classes,
)
from retina_plugin.config import get_cfg
from retina_plugin.config.bounds import warn_of_conflicts
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import class_counts, load_dataset
from retina_plugin.data.fingerprint import fingerprint
from retina_plugin.engine import stopping
from retina_plugin.engine.checks import (
    check_run,
    freeze_unread,
    resolve_alpha,
    resolve_num_classes,
    resolve_prior,
)
from retina_plugin.engine.ranks import free_port, joined, run_ranks
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.resume import step_of
from retina_plugin.engine.run_folder import Host, check_folder, enter_folder
from retina_plugin.engine.run_images import prepare_images
from retina_plugin.engine.space import require_space
from retina_plugin.engine.summary import model_summary, step_summary
from retina_plugin.lit.callbacks import CheckpointFiles, Checkpoints, Pictures, Progress, Writer
from retina_plugin.lit.data import Data, training_records
from retina_plugin.lit.module import Module
from retina_plugin.lit.stop import Stop
from retina_plugin.modeling.build import build_model
from retina_plugin.report import beyond_limit, finish

HOST = Host("lightning", get_cfg, dump=lambda cfg: cfg.dump())


def run(args: argparse.Namespace) -> None:
    """Train or evaluate, in ``args.num_gpus`` processes on each of ``args.num_machines``."""
    # else a launcher such as torchrun has started this rank
    if args.num_gpus > 1 and "LOCAL_RANK" not in os.environ:
        cfg = configured(args)  # so that a mistake is reported once, before the processes start
        backend = "nccl" if cfg.MODEL.DEVICE.startswith("cuda") else "gloo"
        url = args.dist_url if args.num_machines > 1 else f"tcp://127.0.0.1:{free_port()}"
        run_ranks(_one_of_several, args.num_gpus, args, url, backend)
    else:
        _run(args)


def _one_of_several(rank: int, args: argparse.Namespace, url: str, backend: str) -> None:
    with joined(rank, args, url, backend=backend):
        rank_zero_only.rank = torch.distributed.get_rank()
        _run(args)


def _run(args: argparse.Namespace) -> None:
    cfg, class_names, data = setup(args)
    with enter_folder(
        cfg,
        args,
        HOST,
        class_names=class_names,
        training_data=data,
        main=_is_main(args),
        ready=_wait_for_ranks,
    ) as checkpoint:
        try:
            with stopping.deferred():
                _train_and_evaluate(cfg, args, class_names, checkpoint, data)
        except SystemExit:  # how Lightning ends on Ctrl-C
            stopping.check()
            raise KeyboardInterrupt from None


def _wait_for_ranks() -> None:
    if torch.distributed.is_initialized():  # by us; Lightning does so when training begins
        torch.distributed.barrier()


def _train_and_evaluate(
    cfg: Any,
    args: argparse.Namespace,
    class_names: list[str],
    checkpoint: str | None,
    data: dict[str, Any] | None,
) -> None:
    seed = cfg.SEED if cfg.SEED >= 0 else secrets.randbelow(2**31)
    lightning.seed_everything(seed)
    module = Module(build_model(cfg), cfg, class_names=class_names, seed=seed, training_data=data)
    freeze_unread(module.model)
    trainer = build_trainer(cfg, args)
    if trainer.is_global_zero:
        print(model_summary(module.model), flush=True)
    if args.eval_only:
        message = stopping.EVALUATION_STOPPED
        warn_of_other_classes(load_weights(module.model, checkpoint), class_names, checkpoint)
    else:
        message = _train(trainer, module, checkpoint)
    if cfg.DATASETS.TEST and (args.eval_only or module.evaluated_at != trainer.global_step):
        trainer.validate(module, datamodule=Data(cfg), verbose=False)
        _end_if_asked(message)
    if cfg.DATASETS.TEST and trainer.is_global_zero:
        finish(cfg, module.results)


def _is_main(args: argparse.Namespace) -> bool:
    """Whether this is the first process of the first machine."""
    return rank_zero_only.rank == 0 and args.machine_rank == 0


def configured(args: argparse.Namespace) -> Any:
    """The config of a run, checked as far as that can be done without its data."""
    cfg = read_config(get_cfg(), args.config_file, args.opts)
    if cfg.MODEL.META_ARCHITECTURE != "FocalRetinaNet":
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}, without Detectron2 it must "
            "be FocalRetinaNet. "
            "_BASE_: configs/Base-RetinaNet.yaml sets it."
        )
    check_run(cfg, num_gpus=args.num_gpus, num_machines=args.num_machines)
    return cfg


def setup(args: argparse.Namespace) -> tuple[Any, list[str], dict[str, Any] | None]:
    """The checked and frozen config of a run, the names of the classes, and in the main process of
    a training the fingerprint of its data; nothing is written."""
    cfg = configured(args)
    if _is_main(args):
        check_folder(cfg, args, HOST)
        if not args.eval_only:
            warn_of_conflicts(cfg)
    names = resolve_num_classes(
        cfg, lambda name: load_dataset(name).class_names, eval_only=args.eval_only
    )
    if not args.eval_only:
        training_records(cfg)  # an empty training set ends here, not in a worker process
        for resolve in (resolve_alpha, resolve_prior):
            table = resolve(
                cfg, names, lambda name: class_counts(load_dataset(name).records, len(names))
            )
            if table:
                rank_zero_only(print)(table, flush=True)
    beyond = beyond_limit(cfg)
    if beyond:
        rank_zero_only(print)(beyond, flush=True)
    checked = prepare_images(cfg, args, HOST, _records_of, show=_is_main(args))
    rank_zero_only(print)(checked, flush=True)
    cfg.freeze()
    _quiet()
    trains = _is_main(args) and not args.eval_only
    return cfg, names, fingerprint(map(_records_of, cfg.DATASETS.TRAIN)) if trains else None


def _records_of(name: str) -> list[dict[str, Any]]:
    return load_dataset(name).records


def _quiet() -> None:
    """Silence what Lightning says of its own workings; errors and warnings of this project stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    # Derivatives of easy anchors and their products reach subnormal numbers, which are very slow on
    # CPUs.
    torch.set_flush_denormal(True)


def build_trainer(cfg: Any, args: argparse.Namespace) -> lightning.Trainer:
    """Lightning's trainer for a config and the flags of the command line."""
    if args.num_machines > 1:
        url = urlparse(args.dist_url)
        os.environ.update(
            MASTER_ADDR=url.hostname or "",
            MASTER_PORT=str(url.port),
            NODE_RANK=str(args.machine_rank),
        )
    device, processes = torch.device(cfg.MODEL.DEVICE), max(args.num_gpus, 1)
    writer = Writer(cfg.OUTPUT_DIR)
    checkpoints = Checkpoints(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD)
    callbacks = [writer, checkpoints, Progress()]
    if cfg.VIS_PERIOD > 0:
        callbacks.append(Pictures(writer, cfg.VIS_PERIOD))
    callbacks.append(Stop(checkpoints))
    precision = (
        ("16-mixed" if device.type == "cuda" else "bf16-mixed")
        if cfg.SOLVER.AMP.ENABLED
        else "32-true"
    )
    return lightning.Trainer(
        accelerator=device.type,
        devices=processes if device.index is None else [device.index],
        num_nodes=args.num_machines,
        strategy="ddp" if processes * args.num_machines > 1 else "auto",
        precision=precision,
        max_steps=cfg.SOLVER.MAX_ITER,
        max_epochs=-1,
        val_check_interval=cfg.TEST.EVAL_PERIOD or cfg.SOLVER.MAX_ITER + 1,
        check_val_every_n_epoch=None,  # periods count steps
        num_sanity_val_steps=0,
        benchmark=cfg.CUDNN_BENCHMARK,
        callbacks=callbacks,
        plugins=[CheckpointFiles()],
        default_root_dir=cfg.OUTPUT_DIR,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _end_if_asked(message: str) -> None:
    stopping.agree()
    stopping.check(message)


def _train(trainer: lightning.Trainer, module: Module, resumed: str | None) -> str:
    """Train, and return what to say if the evaluation is stopped.

    Raises:
        Interrupted: a signal has stopped it; what was done is in the last checkpoint.
    """
    cfg = module.cfg
    first_step = 0
    if resumed:
        checkpoint = read_checkpoint(resumed)
        fit_all(module.model, checkpoint, resumed)
        first_step = step_of(checkpoint)
    elif cfg.MODEL.WEIGHTS:
        found = start_from(
            module.model,
            cfg.MODEL.WEIGHTS,
            fine_tune=cfg.MODEL.RETINA_PLUGIN.FINE_TUNE,
            class_names=module.class_names,
        )
        rank_zero_only(print)(found, flush=True)
    if trainer.is_global_zero:
        require_space(cfg, module.model, first_step=first_step)
        print(step_summary(cfg, processes=trainer.world_size), flush=True)
    trainer.fit(module, datamodule=Data(cfg), ckpt_path=resumed)
    stop = next(callback for callback in trainer.callbacks if isinstance(callback, Stop))
    path = stop.path or os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    message = stopping.stopped_at(trainer.global_step, cfg.SOLVER.MAX_ITER, path)
    _end_if_asked(message)
    return message
