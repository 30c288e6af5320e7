"""Detectron2's trainer with this project's optimizer, checkpoints and evaluator."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.solver.build import build_optimizer, get_default_optimizer_params, maybe_add_gradient_clipping

from retina_plugin.checks import NAN_ADVICE
from retina_plugin.d2.datasets import Mapper
from retina_plugin.data import coco_ground_truth
from retina_plugin.outputs import results_folder
from retina_plugin.weights import OPTIONAL, WeightsError


class Metadata:
    """Names of the classes, kept in every checkpoint."""

    def __init__(self, class_names: list[str]) -> None:
        self.class_names = class_names

    def state_dict(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The names of the running data set stay."""


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, for which weights that do not fit are an error and not a line in the log."""

    def _load_model(self, checkpoint: Any) -> Any:
        whole = any("head.cls_score" in key for key in checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        part = "" if whole else "backbone.bottom_up."
        missing = [k for k in incompatible.missing_keys if k.startswith(part) and k not in OPTIONAL]
        shapes = [f"{key}: {a} in the file, {b} in the model" for key, a, b in incompatible.incorrect_shapes]
        if missing or shapes:
            raise WeightsError(
                f"MODEL.WEIGHTS does not fit this model: {len(missing)} parameters are missing ({', '.join(missing[:3])}), "
                f"{len(shapes)} have another shape ({'; '.join(shapes[:3])}). Use the config that it was trained with."
            )
        return incompatible


class Evaluator(COCOEvaluator):
    """COCO metrics; annotations that lack ``iscrowd`` or ``area`` are completed, as users' own files often do."""

    def __init__(self, dataset_name: str, **kwargs: Any) -> None:
        super().__init__(dataset_name, **kwargs)
        self._coco_api.dataset = coco_ground_truth(MetadataCatalog.get(dataset_name).json_file)
        self._coco_api.createIndex()


class Trainer(DefaultTrainer):
    """DefaultTrainer; see :mod:`retina_plugin.d2.run` for how it is started."""

    def build_hooks(self) -> list[Any]:
        # DefaultTrainer makes its own checkpointer just before it asks for the hooks, which hold on to it.
        names = MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0]).thing_classes
        self.checkpointer = Checkpointer(
            self._trainer.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self), metadata=Metadata(names)
        )
        return super().build_hooks()

    def run_step(self) -> None:
        try:
            super().run_step()
        except FloatingPointError as error:
            lr = self.optimizer.param_groups[0]["lr"]
            advice = NAN_ADVICE.format(value="infinite or NaN", iteration=self.iter, lr=lr, folder=self.cfg.OUTPUT_DIR)
            raise FloatingPointError(advice) from error

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._trainer.optimizer

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD as Detectron2 makes it, or AdamW over the same groups of parameters."""
        if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "SGD":
            return build_optimizer(cfg, model)
        if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER != "AdamW":
            raise ValueError(
                f"MODEL.RETINA_PLUGIN.OPTIMIZER must be SGD or AdamW, found {cfg.MODEL.RETINA_PLUGIN.OPTIMIZER!r}"
            )
        groups = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        adamw = torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
        return maybe_add_gradient_clipping(cfg, adamw)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_detection_train_loader(cfg, mapper=Mapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        return build_detection_test_loader(cfg, dataset_name, mapper=Mapper(cfg, is_train=False))

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Evaluator:
        return Evaluator(dataset_name, output_dir=results_folder(cfg, dataset_name))
