"""Detectron2's trainer with this project's optimizer, checkpoints and evaluator."""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, hooks
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.evaluation.coco_evaluation import COCOeval_opt
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventStorage, EventWriter
from pycocotools.coco import COCO

from retina_plugin.config.disk import DiskError
from retina_plugin.d2.budget import BudgetHook, BudgetPrinter
from retina_plugin.d2.checkpoint import Checkpointer, CheckpointMetadata
from retina_plugin.d2.hooks import AverageHook, EvaluationHook, StopHook
from retina_plugin.d2.loader import TrainingLoader, evaluation_loader, training_loader
from retina_plugin.d2.logs import EventsWriter, MetricsFile
from retina_plugin.d2.modeling import from_instances
from retina_plugin.d2.trackers import TrackerWriter
from retina_plugin.data import load_dataset, validation_sets
from retina_plugin.data.samples import EvaluationDataset, ValidationDataset
from retina_plugin.engine import stopping
from retina_plugin.engine.best_model import BestModel
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.checkpoints import checkpoint_name
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.engine.divergence import divergence_error, has_finite_predictions
from retina_plugin.engine.resume import use_learning_rates
from retina_plugin.engine.summary import (
    model_summary,
    step_summary,
)
from retina_plugin.engine.trackers import RunTrackers
from retina_plugin.evaluation.coco import coco_results, evaluate
from retina_plugin.evaluation.losses import data_set_losses
from retina_plugin.evaluation.results import results_folder
from retina_plugin.evaluation.unfiltered import on_cpu, write_unfiltered
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections, ImageLosses
from retina_plugin.solver import (
    WeightAverage,
    build_optimizer,
    build_progress_scheduler,
    build_schedule,
    clip_before_steps,
)


class RetinaCOCOEvaluator(DatasetEvaluator):
    """A Detectron2 evaluator that calls :func:`retina_plugin.evaluation.coco.evaluate`. The metrics
    have the names of ``COCOEvaluator``."""

    def __init__(self, dataset_name: str, *, output_dir: str, max_dets_per_image: int) -> None:
        """
        Args:
            dataset_name: the name of a data set in this project's or Detectron2's catalog.
            output_dir: the folder for ``coco_instances_results.json``.
            max_dets_per_image: see :func:`retina_plugin.evaluation.coco.compute_metrics`.
        """
        self.dataset, self.folder = load_dataset(dataset_name), output_dir
        self.max_dets_per_image = max_dets_per_image
        # the user's order of the classes, if the catalog has one
        contiguous_ids = MetadataCatalog.get(dataset_name).get("thing_dataset_id_to_contiguous_id")
        self.category_ids = (
            sorted(contiguous_ids, key=lambda i: contiguous_ids[i])
            if contiguous_ids
            else self.dataset.category_ids
        )

    def reset(self) -> None:
        self.results: dict[Any, list[dict[str, Any]]] = {}  # image id -> COCO results
        # by image id; empty if the model returns none
        self.losses: dict[Any, ImageLosses] = {}
        self.unfiltered: dict[Any, Detections] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Store the detections of a batch.

        Args:
            inputs: a dict with "image_id" for each image.
            outputs: a dict with "instances" for each image.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = sample["image_id"]
            if "losses" in output:
                self.losses[image_id] = output["losses"]
            if "unfiltered" in output:
                self.unfiltered[image_id] = on_cpu(from_instances(output["unfiltered"]))
            detections = on_cpu(from_instances(output["instances"]))
            self.results[image_id] = coco_results(image_id, detections, self.category_ids)

    def evaluate(self) -> dict[str, Any]:
        """Compute the metrics on the main process.

        Returns:
            ``{"bbox": metrics}``, and "validation" with losses if the model returns them. Empty
            without ground truth and on the other processes.

        Raises:
            Interrupted: a signal stopped the evaluation, and some images are missing.
        """
        if stopping.requested_on_any_rank():
            stopping.raise_if_requested(stopping.EVALUATION_STOPPED)
        comm.synchronize()
        gathered = comm.gather((self.results, self.losses, self.unfiltered), dst=0)
        if not comm.is_main_process():
            return {}
        back_end = None if find_spec("faster_coco_eval") else (COCO, COCOeval_opt)
        results: dict[str, Any] = evaluate(
            self.dataset,
            [detections for detections, _, _ in gathered],
            self.folder,
            max_detections=self.max_dets_per_image,
            back_end=back_end,
        )
        unfiltered = [unfiltered for _, _, unfiltered in gathered]
        write_unfiltered(self.folder, unfiltered, self.category_ids)
        losses = data_set_losses(losses for _, losses, _ in gathered)
        if losses and results:  # neither exists without ground truth
            results["validation"] = losses
        return results


class RetinaTrainer(DefaultTrainer):
    """``DefaultTrainer`` with this project's optimizer, data loaders, checkpoints and evaluator."""

    def __init__(
        self,
        cfg: Any,
        *,
        training_data: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
        trackers: RunTrackers | None = None,
    ) -> None:
        """
        Args:
            cfg: the frozen config.
            training_data: see :mod:`retina_plugin.data.fingerprint`; kept in every checkpoint.
            budget: the time budget of the run; None if SOLVER.MAX_ITER steps are trained.
            trackers: the trackers of the run; None for none.
        """
        self.trackers = trackers or RunTrackers({})
        self.budget = budget
        self.run_cfg = cfg  # the user's settings
        self.training_data = training_data
        # Detectron2's mixed precision needs a GPU. On the CPU, its trainer for full precision runs
        # under bfloat16 autocast.
        self.bfloat16 = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu"
        if self.bfloat16:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.AMP.ENABLED = False
            cfg.freeze()
        self.writers: list[EventWriter] = []  # empty on the other processes
        super().__init__(cfg)
        if budget is not None:
            self.scheduler = build_progress_scheduler(
                self.optimizer, cfg.SOLVER, lambda: budget.progress
            )
            if isinstance(self._trainer.data_loader, TrainingLoader):
                self._trainer.data_loader.follow(lambda: budget.progress)
        if comm.is_main_process():
            print(step_summary(cfg, processes=comm.get_world_size()), flush=True)

    @classmethod
    def build_model(cls, cfg: Any) -> torch.nn.Module:
        """Build the model of the config. If it is a RetinaNet of this project, print its size and
        freeze its unused parameters."""
        model: torch.nn.Module = super().build_model(cfg)
        if isinstance(model, RetinaNet):
            freeze_unused_parameters(model)
            if comm.is_main_process():
                print(model_summary(model), flush=True)
        return model

    def build_hooks(self) -> list[Any]:
        # DefaultTrainer creates its checkpointer just before it calls this method. Replace it here,
        # because the hooks keep a reference to it.
        loader, model = self._trainer.data_loader, self._trainer.model
        states: dict[str, Any] = {"seed": loader} if isinstance(loader, TrainingLoader) else {}
        if self.budget is not None:
            states["budget"] = self.budget
        class_names = MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0]).thing_classes
        self.metadata = CheckpointMetadata(class_names, model, self.run_cfg, self.training_data)
        averages = self.cfg.MODEL.RETINA_PLUGIN.SOLVER.EMA
        self.average = WeightAverage(self.unwrapped_model) if averages else None
        self.checkpointer = Checkpointer(
            model,
            self.cfg.OUTPUT_DIR,
            average=self.average,
            keep=self.cfg.MODEL.RETINA_PLUGIN.SOLVER.KEEP,
            fine_tune=self.cfg.MODEL.RETINA_PLUGIN.FINE_TUNE,
            trainer=weakref.proxy(self),
            metadata=self.metadata,
            **states,
        )
        self.evaluations = EvaluationHook(
            self._evaluate, BestModel(self.run_cfg, budget=self.budget), write_best=self._write_best
        )
        found = [
            self.evaluations if isinstance(hook, hooks.EvalHook) else hook
            for hook in super().build_hooks()
        ]
        if self.average:
            found.insert(0, AverageHook(self.average))
        if self.budget is not None:
            saving = [hook for hook in found if isinstance(hook, hooks.PeriodicCheckpointer)]
            found.insert(0, BudgetHook(self.budget, saving))
        return [*found, StopHook()]

    def _evaluate(self) -> dict[str, Any]:
        with self.average.applied() if self.average else contextlib.nullcontext():
            names = validation_sets(self.cfg)
            return self.evaluate(self.cfg, self.model, names, samples=ValidationDataset)

    def _write_best(self) -> None:
        average = self.average
        model = average.averaged_state() if average else self.unwrapped_model.state_dict()
        self.evaluations.best.write(model, self.metadata.state_dict())

    @property
    def unwrapped_model(self) -> torch.nn.Module:
        """The model without DistributedDataParallel."""
        found = getattr(self.model, "module", self.model)
        assert isinstance(found, torch.nn.Module)
        return found

    @classmethod
    def evaluate(
        cls,
        cfg: Any,
        model: torch.nn.Module,
        names: Sequence[str],
        *,
        samples: type[EvaluationDataset] = EvaluationDataset,
    ) -> dict[str, Any]:
        """Evaluate a model on data sets.

        Args:
            cfg: the config of the run.
            model: the model, with the weights to evaluate.
            names: the data sets.
            samples: ``ValidationDataset`` also measures the losses of a FocalRetinaNet.

        Returns:
            The results of the only data set, or a dict from the names of several to theirs; see
            :meth:`RetinaCOCOEvaluator.evaluate`. Empty without data sets.
        """
        results: dict[str, Any] = {}
        for name in names:
            loader = stopping.StoppableLoader(evaluation_loader(cfg, name, samples))
            found = inference_on_dataset(model, loader, cls.build_evaluator(cfg, name))
            if comm.is_main_process():
                print_csv_format(found)
            results[name] = found
        return results if len(results) != 1 else results[names[0]]

    def train(self) -> None:
        """Train and evaluate. After a signal, save a checkpoint of the last step and stop.

        Raises:
            Interrupted: a signal stopped the run.
        """
        try:
            self._take_steps()
        except stopping.Interrupted as error:
            if stopping.immediate_stop_requested():  # a step may be incomplete
                raise
            raise stopping.Interrupted(error.number, self._save_at_stop()) from None

    def _take_steps(self) -> None:
        """Train up to ``max_iter``, which hooks may change in between.

        Detectron2's loop reads it once, at the start.
        """
        self.iter: int = self.start_iter - 1  # the last completed step
        with EventStorage(max(self.iter, 0)) as self.storage:
            try:
                self.before_train()
                self.iter = self.start_iter
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            finally:
                self.after_train()

    def _save_at_stop(self) -> str:
        """Save a checkpoint unless the step has one, and return the message for the user."""
        name = checkpoint_name(self.iter + 1, self.max_iter)
        path = os.path.join(self.cfg.OUTPUT_DIR, name)
        if self.iter + 1 < self.max_iter and (self.iter + 1) % self.cfg.SOLVER.CHECKPOINT_PERIOD:
            self.checkpointer.save(name.removesuffix(".pth"), iteration=self.iter)
        return stopping.stopped_message(min(self.iter + 1, self.max_iter), self.max_iter, path)

    def load_or_resume(self, resumed: str | None) -> None:
        """Load ``MODEL.WEIGHTS``, or continue from the step of a checkpoint.

        Args:
            resumed: path of a checkpoint of this run; None to start at step 0.
        """
        if resumed is None:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
            return
        rates = [
            float(rate) for rate in self.scheduler.base_lrs
        ]  # load() replaces them by the checkpoint's
        self.checkpointer.load(resumed)
        self.start_iter = self.iter + 1
        if self.budget is not None:
            if self.budget.steps != self.start_iter:  # the checkpoint has no budget
                self.budget.skip_to(self.start_iter)
            self.max_iter = self.budget.predicted_steps
        if isinstance(self._trainer.data_loader, TrainingLoader):
            self._trainer.data_loader.start_at(self.start_iter)
        use_learning_rates(self.optimizer, self.scheduler, rates)

    def build_writers(self) -> list[EventWriter]:
        folder = self.cfg.OUTPUT_DIR
        self.writers = [
            BudgetPrinter(self.budget) if self.budget else CommonMetricPrinter(self.max_iter),
            MetricsFile(folder),
            EventsWriter(folder),
            *([TrackerWriter(self.trackers)] if self.trackers else []),
        ]
        return self.writers

    def write_scalars(self) -> None:
        """Write the scalars of an evaluation after a step at which Detectron2 writes none.

        Detectron2 calls its writers every ``LOG_PERIOD`` steps and after the last one; a writer has
        the latest value of each scalar only.
        """
        for writer in self.writers:
            writer.write()

    def after_train(self) -> None:
        failed = sys.exc_info()[1] is not None
        try:
            super().after_train()
        except DiskError:
            if not failed:  # otherwise report the error that ended training
                raise

    def run_step(self) -> None:
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
                super().run_step()
        except FloatingPointError as error:
            raise self._divergence("The loss became infinite or NaN") from error
        if self.budget is None and self.iter == self.max_iter - 1:
            self.require_finite()

    def require_finite(self) -> None:
        """Check after the last step that the predictions of the model are finite; see
        :mod:`retina_plugin.engine.divergence`.

        Raises:
            FloatingPointError: they are not.
        """
        model = self.unwrapped_model
        if isinstance(model, RetinaNet) and not has_finite_predictions(model):
            raise self._divergence("The predictions of the model became infinite or NaN")

    def _divergence(self, what: str) -> FloatingPointError:
        lr = self.optimizer.param_groups[0]["lr"]
        return divergence_error(what, iteration=self.iter, lr=lr, cfg=self.run_cfg)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self._trainer.optimizer
        return optimizer

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer; see :func:`retina_plugin.solver.build_optimizer`. It clips gradients
        as ``SOLVER.CLIP_GRADIENTS`` says."""
        optimizer = build_optimizer(model, cfg)
        clip_before_steps(optimizer, cfg.SOLVER.CLIP_GRADIENTS)
        return optimizer

    @classmethod
    def build_lr_scheduler(cls, cfg: Any, optimizer: torch.optim.Optimizer) -> LRMultiplier:
        """Build the scheduler; see :func:`retina_plugin.solver.build_schedule`."""
        schedule = build_schedule(cfg.SOLVER)
        return LRMultiplier(optimizer, multiplier=schedule, max_iter=cfg.SOLVER.MAX_ITER)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return training_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        return stopping.StoppableLoader(evaluation_loader(cfg, dataset_name))

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> RetinaCOCOEvaluator:
        folder = results_folder(cfg, dataset_name)
        return RetinaCOCOEvaluator(
            dataset_name, output_dir=folder, max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE
        )
