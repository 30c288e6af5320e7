"""Average the weights on Lightning."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.lit.module import RetinaNetModule


class AverageCallback(lightning.Callback):
    """Updates the averaged weights of a :class:`RetinaNetModule` after each step, and evaluates
    with them.

    It must come before the callbacks that save checkpoints, so that these save the average after
    the step.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *args: Any
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if module.average:
            module.average.update(step=trainer.global_step, steps=trainer.max_steps)

    def on_validation_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if module.average:
            module.average.apply()

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if module.average:
            module.average.restore()
