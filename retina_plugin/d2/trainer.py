"""Detectron2's trainer with this project's optimizer, checkpoints and evaluator."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import COCOeval_opt
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from pycocotools.coco import COCO

from retina_plugin.config.disk import DiskError
from retina_plugin.d2.checkpoint import Checkpointer, CheckpointMetadata
from retina_plugin.d2.loader import TrainingLoader, evaluation_loader, training_loader
from retina_plugin.d2.logs import EventsWriter, MetricsFile
from retina_plugin.data import load_dataset
from retina_plugin.engine import stopping
from retina_plugin.engine.checkpoints import checkpoint_name
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.engine.divergence import divergence_error, has_finite_predictions
from retina_plugin.engine.resume import use_learning_rates
from retina_plugin.engine.summary import (
    LOG_PERIOD,
    model_summary,
    print_evaluation,
    step_summary,
)
from retina_plugin.evaluation.coco import coco_results, evaluate
from retina_plugin.evaluation.results import results_folder
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.solver import build_optimizer, build_schedule, clip_before_steps


class RetinaCOCOEvaluator(DatasetEvaluator):
    """:func:`retina_plugin.evaluation.coco.evaluate` as a Detectron2 evaluator; metrics have the
    names of COCOEvaluator."""

    def __init__(self, dataset_name: str, *, output_dir: str, max_dets_per_image: int) -> None:
        """
        Args:
            dataset_name: in any catalog.
            output_dir: where ``coco_instances_results.json`` goes.
            max_dets_per_image: see :func:`retina_plugin.evaluation.coco.compute_metrics`.
        """
        self.dataset, self.folder, self.limit = (
            load_dataset(dataset_name),
            output_dir,
            max_dets_per_image,
        )
        # The model's numbers of classes, if the user chose them.
        numbers = MetadataCatalog.get(dataset_name).get("thing_dataset_id_to_contiguous_id")
        self.category_ids = (
            sorted(numbers, key=numbers.get) if numbers else self.dataset.category_ids
        )

    def reset(self) -> None:
        self.found: dict[Any, list[dict[str, Any]]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Keep the detections of some images.

        Args:
            inputs: with "image_id".
            outputs: with "instances".
        """
        for sample, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            parts = {
                "boxes": found.pred_boxes.tensor,
                "scores": found.scores,
                "labels": found.pred_classes,
            }
            self.found[sample["image_id"]] = coco_results(
                sample["image_id"], parts, self.category_ids
            )

    def evaluate(self) -> dict[str, Any]:
        """On the main process ``{"bbox": metrics}``, or ``{}`` without ground truth; on others
        ``{}``.

        Raises:
            Interrupted: a signal has come, so that some images are missing.
        """
        if stopping.requested_on_any_rank():
            stopping.raise_if_requested(stopping.EVALUATION_STOPPED)
        comm.synchronize()
        gathered = comm.gather(self.found, dst=0)
        if not comm.is_main_process():
            return {}
        back_end = None if find_spec("faster_coco_eval") else (COCO, COCOeval_opt)
        return evaluate(
            self.dataset, gathered, self.folder, max_detections=self.limit, back_end=back_end
        )


class StopHook(HookBase):
    """The last hook, so that everything of the step is done when a signal ends the run."""

    def after_step(self) -> None:
        stopping.requested_on_any_rank()
        stopping.raise_if_requested()


class RetinaTrainer(DefaultTrainer):
    """DefaultTrainer; see :mod:`retina_plugin.d2.run` for how it is started."""

    def __init__(self, cfg: Any, *, training_data: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            cfg: frozen.
            training_data: see :mod:`retina_plugin.data.fingerprint`; kept in every checkpoint.
        """
        self.run_cfg = cfg  # as the user asked for it
        self.training_data = training_data
        # Detectron2's own mixed precision needs a GPU; on the CPU its plain trainer runs under
        # bfloat16.
        self.bfloat16 = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu"
        if self.bfloat16:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.AMP.ENABLED = False
            cfg.freeze()
        self.writers: list[EventWriter] = []  # of the main process
        self._printed: dict[str, Any] | None = None  # the last evaluation that was printed
        super().__init__(cfg)
        if comm.is_main_process():
            print(step_summary(cfg, processes=comm.get_world_size()), flush=True)

    @classmethod
    def build_model(cls, cfg: Any) -> torch.nn.Module:
        """The model of the config; of ours, a line on its size is printed."""
        model = super().build_model(cfg)
        if isinstance(model, RetinaNet):
            freeze_unused_parameters(model)
            if comm.is_main_process():
                print(model_summary(model), flush=True)
        return model

    def build_hooks(self) -> list[Any]:
        # DefaultTrainer makes its own checkpointer just before it asks for the hooks, which hold on
        # to it.
        names, loader = (
            MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0]).thing_classes,
            self._trainer.data_loader,
        )
        order = {"seed": loader} if isinstance(loader, TrainingLoader) else {}
        self.checkpointer = Checkpointer(
            self._trainer.model,
            self.cfg.OUTPUT_DIR,
            fine_tune=self.cfg.MODEL.RETINA_PLUGIN.FINE_TUNE,
            trainer=weakref.proxy(self),
            metadata=CheckpointMetadata(names, self._trainer.model, self.cfg, self.training_data),
            **order,
        )
        return [*super().build_hooks(), StopHook()]

    def train(self) -> None:
        """As in the base class; when a signal comes, the run ends with a checkpoint of its last
        whole step.

        Raises:
            Interrupted: a signal came.
        """
        try:
            super().train()
        except stopping.Interrupted as error:
            if stopping.immediate_stop_requested():  # in the middle of something
                raise
            raise stopping.Interrupted(error.number, self._save_at_stop()) from None

    def _save_at_stop(self) -> str:
        """What to tell the user."""
        name = checkpoint_name(self.iter + 1, self.max_iter)
        path = os.path.join(self.cfg.OUTPUT_DIR, name)
        if self.iter + 1 < self.max_iter and (self.iter + 1) % self.cfg.SOLVER.CHECKPOINT_PERIOD:
            self.checkpointer.save(name.removesuffix(".pth"), iteration=self.iter)
        return stopping.stopped_message(min(self.iter + 1, self.max_iter), self.max_iter, path)

    def start(self, resumed: str | None) -> None:
        """Load what training starts from: a checkpoint of this run, with the place in its data, or
        ``MODEL.WEIGHTS``."""
        if resumed is None:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
            return
        rates = list(self.scheduler.base_lrs)  # before the checkpoint's take their place
        self.checkpointer.load(resumed)
        self.start_iter = self.iter + 1
        if isinstance(self._trainer.data_loader, TrainingLoader):
            self._trainer.data_loader.start_at(self.start_iter)
        use_learning_rates(self.optimizer, self.scheduler, rates)

    def build_writers(self) -> list[EventWriter]:
        folder = self.cfg.OUTPUT_DIR
        self.writers = [
            CommonMetricPrinter(self.max_iter),
            MetricsFile(folder),
            EventsWriter(folder),
        ]
        return self.writers

    def after_step(self) -> None:
        """Write and print each evaluation at once.

        Detectron2's writers come every ``LOG_PERIOD`` steps and at the last one, and of each value
        they know the latest only.
        """
        try:
            super().after_step()
            results, step = getattr(self, "_last_eval_results", None), self.iter + 1
            if results is self._printed:
                return
            self._printed = results
            if comm.is_main_process():
                print_evaluation(results, step=step, steps=self.max_iter)
            if step % LOG_PERIOD:
                for writer in self.writers:
                    writer.write()
        except DiskError:
            self._skip_last_evaluation()
            raise

    def after_train(self) -> None:
        failed = sys.exc_info()[1] is not None
        try:
            super().after_train()
        except DiskError:
            if not failed:  # else the error that ended training is the one to report
                raise

    def _skip_last_evaluation(self) -> None:
        """Detectron2 takes a failure in the last step for the end of training, and evaluates,
        unless steps are left."""
        self.max_iter = self.iter + 2

    def run_step(self) -> None:
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
                super().run_step()
        except FloatingPointError as error:
            raise self._divergence("The loss became infinite or NaN") from error
        # of several processes, each of which looks at its own
        model = getattr(self.model, "module", self.model)
        if (
            self.iter == self.max_iter - 1
            and isinstance(model, RetinaNet)
            and not has_finite_predictions(model)
        ):
            raise self._divergence("What the model predicts became infinite or NaN")

    def _divergence(self, what: str) -> FloatingPointError:
        self._skip_last_evaluation()
        lr = self.optimizer.param_groups[0]["lr"]
        return divergence_error(what, iteration=self.iter, lr=lr, cfg=self.run_cfg)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._trainer.optimizer

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """See :func:`retina_plugin.solver.build_optimizer`; it clips gradients if the config says
        so."""
        optimizer = build_optimizer(model, cfg)
        clip_before_steps(optimizer, cfg.SOLVER.CLIP_GRADIENTS)
        return optimizer

    @classmethod
    def build_lr_scheduler(cls, cfg: Any, optimizer: torch.optim.Optimizer) -> LRMultiplier:
        """See :func:`retina_plugin.solver.build_schedule`."""
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
