"""A bar for training and one for evaluation."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from retina_plugin.lit.module import RetinaNetModule


class StepProgressBar(ProgressBar):
    """Steps with loss, learning rate and time left; Lightning's own bars count batches of an
    epoch, which never ends here."""

    def disable(self) -> None:
        """Nothing is shown on other ranks anyway."""

    def enable(self) -> None:
        """It is."""

    def _open(self, trainer: lightning.Trainer, **arguments: Any) -> tqdm:
        return tqdm(mininterval=1, disable=not trainer.is_global_zero, **arguments)

    def on_train_start(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        self.steps = self._open(
            trainer,
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            unit="it",
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: RetinaNetModule, outputs: Any, *args: Any
    ) -> None:
        self.steps.set_postfix(
            loss=f"{float(outputs['loss']):.3f}", lr=f"{module.lr:.1e}", refresh=False
        )
        self.steps.update()

    def on_train_end(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        self.steps.close()

    def on_validation_start(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        total = sum(trainer.num_val_batches)
        self.images = self._open(trainer, total=total, desc="evaluation", unit="image", leave=False)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.images.update()

    def on_validation_end(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        self.images.close()

    def on_exception(self, *args: Any) -> None:
        # the bar of the evaluation first, which is below the other one
        for bar in reversed(vars(self).values()):
            if isinstance(bar, tqdm):  # Lightning hangs other things on a callback
                bar.close()
