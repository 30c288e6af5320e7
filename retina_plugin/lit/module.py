"""RetinaNet as a LightningModule: training step, optimizer, evaluation, and checkpoints that
Detectron2 reads too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor

from retina_plugin.checkpoint import checkpoint_metadata
from retina_plugin.config.tree import plain_leaves
from retina_plugin.data import image_options, load_dataset, validation_sets
from retina_plugin.engine import stopping
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.divergence import divergence_error, has_finite_predictions
from retina_plugin.engine.resume import use_learning_rates
from retina_plugin.engine.run_budget import finish_step
from retina_plugin.engine.summary import flatten_results, print_evaluation
from retina_plugin.evaluation.coco import coco_results, evaluate
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.evaluation.losses import data_set_losses
from retina_plugin.evaluation.results import results_folder
from retina_plugin.evaluation.unfiltered import on_cpu, write_unfiltered
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections, ImageLosses
from retina_plugin.solver import (
    WeightAverage,
    build_lr_scheduler,
    build_optimizer,
    build_progress_scheduler,
    clip_gradients,
)

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

Batch = list[dict[str, Any]]


class RetinaNetModule(lightning.LightningModule):
    """Trains and evaluates :class:`retina_plugin.modeling.retinanet.RetinaNet`."""

    def __init__(
        self,
        model: RetinaNet,
        cfg: Any,
        *,
        class_names: list[str],
        seed: int,
        training_data: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """
        Args:
            model: a model on any device.
            cfg: the frozen config.
            class_names: K names; kept in every checkpoint.
            seed: the seed of the order of the images and of their augmentation. A resumed run takes
                the seed of its checkpoint.
            training_data: see :mod:`retina_plugin.data.fingerprint`; kept in every checkpoint.
            budget: the time budget of the run; None if SOLVER.MAX_ITER steps are trained.
        """
        super().__init__()
        self.model, self.cfg, self.class_names, self.seed = model, cfg, class_names, seed
        self.training_data, self.budget = training_data, budget
        self.average: WeightAverage | None = None  # average of the model, if SOLVER.EMA is set
        self.results: dict[str, Any] = {}  # results of the last evaluation
        self.evaluated_at = -1  # the step of the last evaluation
        # the data sets of the next evaluation, and whether it measures their losses
        self.evaluated_sets, self.measures_losses = validation_sets(cfg), True
        # prefix of the metrics of the next evaluation; None if these are not logged
        self.metrics_prefix: str | None = ""
        self.lr = 0.0  # learning rate of the current step
        self._base_lrs: list[float] = []  # rates of the parameter groups, before the schedule
        # for each evaluated set: image id -> COCO results
        self._detections: list[dict[int, list[dict[str, Any]]]] = []
        self._losses: list[dict[int, ImageLosses]] = []
        self._unfiltered: list[dict[int, Detections]] = []
        self._category_ids: list[tuple[Any, ...]] = []

    def setup(self, stage: str) -> None:
        # with a negative SEED each process has drawn its own seed
        self.seed = self.trainer.strategy.broadcast(self.seed)

    def on_train_start(self) -> None:
        use_learning_rates(self.trainer.optimizers[0], self.lr_schedulers(), self._base_lrs)

    @property
    def iteration(self) -> int:
        """The number of the last completed step, from 0; loggers use it for scalars."""
        return max(self.global_step - 1, 0)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        self.lr = max(
            self.trainer.optimizers[0].param_groups, key=lambda group: len(group["params"])
        )["lr"]
        images, sizes = self.model.preprocess([sample["image"] for sample in batch])
        losses = self.model(images, sizes, batch)
        total = sum(losses.values())
        if not total.isfinite():
            raise self._divergence(f"The loss became {total.item()}", self.global_step)
        return {"loss": total, **{name: loss.detach() for name, loss in losses.items()}}

    def require_finite(self) -> None:
        """Check that the predictions of the model are finite; see
        :mod:`retina_plugin.engine.divergence`.

        Raises:
            FloatingPointError: they are not.
        """
        if not has_finite_predictions(self.model):
            raise self._divergence(
                "The predictions of the model became infinite or NaN", self.iteration
            )

    def _divergence(self, what: str, iteration: int) -> FloatingPointError:
        return divergence_error(what, iteration=iteration, lr=self.lr, cfg=self.cfg)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = build_optimizer(self.model, self.cfg)
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]
        solver, budget = self.cfg.SOLVER, self.budget
        scheduler = (
            build_lr_scheduler(optimizer, solver)
            if budget is None
            else build_progress_scheduler(optimizer, solver, lambda: budget.progress)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Finish the step in the budget first, because the learning rate follows its progress."""
        if self.budget is not None:
            finish_step(self.budget)
            loop = self.trainer.fit_loop.epoch_loop
            loop.max_steps = self.budget.predicted_steps
            # Lightning evaluates if the number of batches is a multiple of val_check_batch
            due = self.budget.is_evaluation_due
            self.trainer.val_check_batch = loop.total_batch_idx + 1 if due else float("inf")
        super().lr_scheduler_step(scheduler, metric)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any
    ) -> None:
        clip_gradients(optimizer, self.cfg.SOLVER.CLIP_GRADIENTS)

    def on_validation_start(self) -> None:
        self._detections = [{} for _ in self.evaluated_sets]
        self._losses = [{} for _ in self.evaluated_sets]
        self._unfiltered = [{} for _ in self.evaluated_sets]
        self._category_ids = [load_dataset(name).category_ids for name in self.evaluated_sets]

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        # without AMP, as Detectron2 evaluates
        with torch.autocast(self.device.type, enabled=False):
            measured = detect_samples(self.model, batch)
        ids = [sample["image_id"] for sample in batch]
        if measured.losses:  # if measures_losses is set
            self._losses[dataloader_idx].update(zip(ids, measured.losses, strict=True))
        for image_id, found in zip(ids, measured.unfiltered, strict=False):  # or empty
            self._unfiltered[dataloader_idx][image_id] = on_cpu(found)
        category_ids = self._category_ids[dataloader_idx]
        for image_id, found in zip(ids, measured.detections, strict=True):
            results = coco_results(image_id, found, category_ids)
            self._detections[dataloader_idx][image_id] = results

    def on_validation_epoch_end(self) -> None:
        if stopping.requested_on_any_rank():
            return  # some images are missing
        found = self._detections, self._losses, self._unfiltered
        gathered: list[Any] = [found]
        # two ranks may evaluate the same image, so the results are dicts with the image id
        if self.trainer.world_size > 1:
            gathered = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, found)
        self.evaluated_at = self.global_step
        results = self._measure(gathered) if self.trainer.is_global_zero else {}
        self.results = self.trainer.strategy.broadcast(results)
        if not self.results:
            return  # no ground truth
        if self.trainer.state.fn == "fit" and self.trainer.is_global_zero:
            print_evaluation(self.results, step=self.global_step, steps=self.trainer.max_steps)
        if self.metrics_prefix is None:
            return
        # log on every rank, so that callbacks decide the same on all ranks
        scalars = flatten_results(self.results, self.metrics_prefix)
        if self.trainer.state.fn != "fit":  # outside of fit, Lightning adds 1
            scalars["step"] = float(self.iteration)
        self.log_dict(scalars, sync_dist=True, batch_size=1)

    def _measure(self, gathered: list[Any]) -> dict[str, Any]:
        """Write the detections of all ranks to files, and return the metrics and losses."""
        results = {}
        for index, name in enumerate(self.evaluated_sets):
            results[name] = evaluate(
                load_dataset(name),
                [detections[index] for detections, _, _ in gathered],
                results_folder(self.cfg, name),
                max_detections=self.cfg.TEST.DETECTIONS_PER_IMAGE,
            )
            write_unfiltered(
                results_folder(self.cfg, name),
                [unfiltered[index] for _, _, unfiltered in gathered],
                self._category_ids[index],
            )
            means = data_set_losses(losses[index] for _, losses, _ in gathered)
            if means and results[name]:  # neither exists without ground truth
                results[name]["validation"] = means
        return results if len(results) > 1 else next(iter(results.values()))

    def evaluated_state(self) -> dict[str, Tensor]:
        """Return the state dict of the model that evaluations use."""
        return self.average.averaged_state() if self.average else self.model.state_dict()

    def metadata(self) -> dict[str, Any]:
        """Return the entry "metadata" of checkpoints."""
        return checkpoint_metadata(
            self.class_names,
            self.model,
            image_options(self.cfg)["pixel_range"],
            self.training_data,
            plain_leaves(self.cfg),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Detectron2 and load_weights read "model". Lightning resumes from "state_dict", which
        # shares its storage with "model", or with "raw_model" if the weights are averaged.
        checkpoint["model"] = self.evaluated_state()
        if self.average:
            raw = self.average.raw_state()
            checkpoint["raw_model"] = raw
            checkpoint["state_dict"] = {f"model.{name}": value for name, value in raw.items()}
        checkpoint["metadata"] = self.metadata()
        checkpoint["iteration"] = self.global_step - 1
        checkpoint["seed"] = self.seed
        if self.budget is not None:
            checkpoint["budget"] = self.budget.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seed = checkpoint["seed"]
        if self.average:
            self.average.load(checkpoint["model"])
