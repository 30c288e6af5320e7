"""Log the scalars of training as means over some steps."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import lightning
import torch

from retina_plugin.engine.summary import LOG_PERIOD
from retina_plugin.lit.module import RetinaNetModule


class MeanScalarsCallback(lightning.Callback):
    """Every ``LOG_PERIOD`` steps, and when training ends, hands the means of losses and times to
    ``self.log``, from where every logger of the trainer gets them.

    It is the last callback, so that it sees whether another one has ended the training. In the last
    step it lets Lightning evaluate, also where that is no multiple of ``TEST.EVAL_PERIOD``, so that
    callbacks see the last evaluation too.
    """

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.steps, self.started = 0, 0.0

    def on_train_start(self, *args: Any) -> None:
        self.started = time.perf_counter()

    def on_train_batch_start(self, *args: Any) -> None:
        self.sums["data_time"] += time.perf_counter() - self.started

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: RetinaNetModule, outputs: Any, *args: Any
    ) -> None:
        losses = {name: float(value) for name, value in outputs.items()}
        losses["total_loss"] = losses.pop("loss")
        now = time.perf_counter()
        self.sums.update({**losses, "time": now - self.started})
        self.started = now
        self.steps += 1
        trainer.should_stop = trainer.should_stop or trainer.global_step == trainer.max_steps
        if trainer.should_stop:  # Lightning takes what is logged every LOG_PERIOD steps only
            trainer.log_every_n_steps = 1
        if trainer.should_stop or trainer.global_step % LOG_PERIOD == 0:
            self.log_dict(self._means(trainer, module), sync_dist=True, batch_size=1)

    def on_validation_end(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        self.started = time.perf_counter()  # evaluation is no part of a step's time
        if trainer.should_stop and self.steps:  # a callback has just ended the training
            means = self._means(trainer, module)
            values = trainer.strategy.reduce(torch.tensor(list(means.values())), reduce_op="mean")
            for logger in trainer.loggers:  # self.log can no longer be called
                rest = dict(zip(means, values.tolist(), strict=True))
                logger.log_metrics(rest, step=module.iteration)

    def _means(self, trainer: lightning.Trainer, module: RetinaNetModule) -> dict[str, float]:
        """Since the last call."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        left = (trainer.max_steps - trainer.global_step) * means["time"]
        self.sums, self.steps = Counter(), 0
        return {**means, "lr": module.lr, "eta_seconds": left}
