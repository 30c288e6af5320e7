"""Progress bars for training and evaluation."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from retina_plugin.lit.module import RetinaNetModule

# for a time budget: without tqdm's remaining time, which the budget predicts better
BUDGET_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


class StepProgressBar(ProgressBar):
    """Shows the steps with loss, learning rate and remaining time. Lightning's bars count the
    batches of an epoch, and here an epoch never ends."""

    def disable(self) -> None:
        """Do nothing: only rank 0 shows a bar."""

    def enable(self) -> None:
        """Do nothing: the bars are always enabled."""

    def _open(self, trainer: lightning.Trainer, **arguments: Any) -> tqdm[Any]:
        return tqdm(mininterval=1, disable=not trainer.is_global_zero, **arguments)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, RetinaNetModule)
        self.training_bar = self._open(
            trainer,
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            unit="it",
            bar_format=BUDGET_FORMAT if module.budget else None,
        )
        if module.budget:
            self.training_bar.set_postfix_str(str(module.budget))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        values = f"loss={float(outputs['loss']):.3f}, lr={module.lr:.1e}"
        if module.budget:
            self.training_bar.total = trainer.max_steps
            values += f", {module.budget}"
        self.training_bar.set_postfix_str(values, refresh=False)
        self.training_bar.update()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.training_bar.close()

    def on_validation_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        total = sum(trainer.num_val_batches)
        self.evaluation_bar = self._open(
            trainer, total=total, desc="evaluation", unit="image", leave=False
        )

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.evaluation_bar.update()

    def on_validation_end(self, *args: Any, **kwargs: Any) -> None:
        self.evaluation_bar.close()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        # in reverse order, because the evaluation bar is below the training bar
        for bar in reversed(vars(self).values()):
            if isinstance(bar, tqdm):  # Lightning sets other attributes on a callback
                bar.close()
