"""Log the scalars of training, averaged over ``LOG_PERIOD`` steps."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import lightning
import torch

from retina_plugin.engine.summary import LOG_PERIOD
from retina_plugin.lit.module import RetinaNetModule


class MeanScalarsCallback(lightning.Callback):
    """Logs mean losses and step times, after every ``LOG_PERIOD`` steps and at the end of training.

    It must be the last callback, because it checks whether another one has ended the training.

    After the last step it sets ``trainer.should_stop``. Lightning then evaluates during ``fit``,
    even if the step is not a multiple of ``TEST.EVAL_PERIOD``, and callbacks get this evaluation.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.steps = 0
        self.started = 0.0  # start of the current step

    def on_train_start(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.sums["data_time"] += time.perf_counter() - self.started

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        losses = {name: float(value) for name, value in outputs.items()}
        losses["total_loss"] = losses.pop("loss")
        now = time.perf_counter()
        for name, value in {**losses, "time": now - self.started}.items():
            self.sums[name] += value
        self.started = now
        self.steps += 1
        trainer.should_stop = trainer.should_stop or trainer.global_step == trainer.max_steps
        if trainer.should_stop:  # Lightning would drop scalars between multiples of LOG_PERIOD
            trainer.log_every_n_steps = 1  # type: ignore[attr-defined]  # set by Lightning
        if trainer.should_stop or trainer.global_step % LOG_PERIOD == 0:
            module.log_dict(self._means(trainer, module), sync_dist=True, batch_size=1)

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        self.started = time.perf_counter()  # do not count evaluation as time of a step
        if trainer.should_stop and self.steps:  # a callback has just ended the training
            means = self._means(trainer, module)
            values = trainer.strategy.reduce(torch.tensor(list(means.values())), reduce_op="mean")
            for logger in trainer.loggers:  # log_dict can no longer be called
                scalars = dict(zip(means, values.tolist(), strict=True))
                logger.log_metrics(scalars, step=module.iteration)

    def _means(self, trainer: lightning.Trainer, module: RetinaNetModule) -> dict[str, float]:
        """Return the means since the last call, the learning rate and the predicted time left."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        steps_left = trainer.max_steps - trainer.global_step
        budget = module.budget
        seconds_left = budget.seconds_left if budget else steps_left * means["time"]
        self.sums, self.steps = defaultdict(float), 0
        return {**means, "lr": module.lr, "eta_seconds": seconds_left}
