"""Register the backbones and the meta-architecture in Detectron2's registries."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    detector_postprocess,
)
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from retina_plugin.config.part import same_definition
from retina_plugin.config.registry import unknown_name_message
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling import backbones, build
from retina_plugin.modeling import build_backbone as retina_backbones
from retina_plugin.modeling.preprocessing import sizes_of
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections, Target


def register_backbones() -> None:
    """Register this project's backbones in Detectron2, and their class as a subclass of
    Detectron2's ``Backbone``."""
    Backbone.register(backbones.Backbone)
    for name, builder in retina_backbones.BACKBONE_REGISTRY.items():
        if name in BACKBONE_REGISTRY and same_definition(BACKBONE_REGISTRY.get(name), builder):
            del BACKBONE_REGISTRY._obj_map[name]  # a user's module was run again
        if name not in BACKBONE_REGISTRY:
            BACKBONE_REGISTRY._do_register(name, builder)


def backbone_names() -> list[str]:
    """Return the names of all backbones in Detectron2's registry, including users' ones."""
    register_backbones()
    return [name for name, _ in BACKBONE_REGISTRY]


@META_ARCH_REGISTRY.register()
class FocalRetinaNet(RetinaNet):
    """:class:`retina_plugin.modeling.retinanet.RetinaNet` with Detectron2's interface: takes a list
    of dicts, returns losses or ``Instances``."""

    @configurable
    def __init__(self, *, class_names: list[str] | None, vis_period: int, **arguments: Any) -> None:
        """
        Args:
            class_names: K names for the training images; None shows class indices.
            vis_period: steps between training images with ground truth and detections in the event
                storage; 0 for none.
            arguments: the arguments of :class:`retina_plugin.modeling.retinanet.RetinaNet`.
        """
        super().__init__(**arguments)
        self.class_names, self.vis_period = class_names, vis_period

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        retina_backbones.import_plugins(cfg)
        name, known = cfg.MODEL.BACKBONE.NAME, backbone_names()
        if name not in known:
            raise KeyError(f"MODEL.BACKBONE.NAME: {unknown_name_message('backbone', name, known)}")
        names = (
            MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes")
            if cfg.DATASETS.TRAIN
            else None
        )
        return {
            "class_names": names,
            "vis_period": cfg.VIS_PERIOD,
            **build.model_parts(cfg, build_backbone(cfg)),
        }

    def forward(  # type: ignore[override]  # Detectron2's interface instead of the base class's
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Compute the losses or the detections of a batch, in Detectron2's formats.

        Args:
            batched_inputs: a dict for each image. "image" is (3, H, W) in ``INPUT.FORMAT``, 0..255;
                in training, "instances" has ``gt_boxes`` and ``gt_classes``; at test time, boxes
                are scaled to "height" and "width", by default the size of "image". Samples of
                :class:`retina_plugin.data.samples.ValidationDataset` have "boxes" and "labels".
                Samples of this project have "views" if the config uses slices or
                test-time augmentation.

        Returns:
            In training the losses, such as "loss_cls" and "loss_box_reg". At test time a dict with
            "instances" for each image; for samples with "boxes", also "losses", an
            :class:`retina_plugin.modeling.structures.ImageLosses`, and "unfiltered", the instances
            of all scores.
        """
        if not self.training and "views" in batched_inputs[0]:
            return self._detect_views(batched_inputs)
        self._warn_without_views()
        images = [x["image"] for x in batched_inputs]
        if not self.training and "boxes" in batched_inputs[0]:
            targets = [self._ground_truth(x) for x in batched_inputs]
            found = self.detect_and_measure(images, targets)
            outputs, unfiltered = (
                self._instances(part, sizes_of(images), batched_inputs)
                for part in (found.detections, found.unfiltered)
            )
            return [
                {**output, "losses": losses, "unfiltered": low["instances"]}
                for output, losses, low in zip(outputs, found.losses, unfiltered, strict=True)
            ]
        if not self.training:
            return self._instances(self.detect_images(images), sizes_of(images), batched_inputs)
        targets = [self._target(x["instances"]) for x in batched_inputs]
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self._visualize(batched_inputs[0])
        return super().forward(*self.preprocess(images), targets)

    def _detect_views(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = detect_samples(self, samples)
        sizes = [(sample["height"], sample["width"]) for sample in samples]
        outputs: list[dict[str, Any]] = [
            {"instances": _to_instances(detections, size)}
            for detections, size in zip(found.detections, sizes, strict=True)
        ]
        # both may be empty
        for output, image_losses in zip(outputs, found.losses, strict=False):
            output["losses"] = image_losses
        for output, detections, size in zip(outputs, found.unfiltered, sizes, strict=False):
            output["unfiltered"] = _to_instances(detections, size)
        return outputs

    def _warn_without_views(self) -> None:
        if not self.training and self.views is not None:
            warnings.warn(
                "MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE and TEST.AUG.ENABLED have no effect on images "
                "that Detectron2's mapper has resized, because the views are made from the "
                "original image. Use retina eval, or model.predict with the original image.",
                stacklevel=3,
            )

    def _ground_truth(self, sample: dict[str, Any]) -> Target:
        return {name: sample[name].to(self.device) for name in ("boxes", "labels")}

    def _target(self, instances: Instances) -> Target:
        return {
            "boxes": instances.gt_boxes.tensor.to(self.device),
            "labels": instances.gt_classes.to(self.device),
        }

    @staticmethod
    def _instances(
        found: list[Detections], sizes: list[tuple[int, int]], inputs: list[dict[str, Any]]
    ) -> list[dict[str, Instances]]:
        results = []
        for detections, size, image in zip(found, sizes, inputs, strict=True):
            image_size: tuple[int, int] | Tensor = size
            if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # public
                # the sides are tensors; a tuple would be traced as constants
                image_size = torch.stack([torch.as_tensor(side) for side in size])
            instances = _to_instances(detections, image_size)
            height, width = image.get("height", image_size[0]), image.get("width", image_size[1])
            results.append({"instances": detector_postprocess(instances, height, width)})
        return results

    def _visualize(self, first: dict[str, Any]) -> None:
        """Put a drawing of the batch's first image, ground truth beside detections, into the event
        storage under "training"."""
        from retina_plugin.report import draw_training_image

        target = self._target(first["instances"])
        drawing = draw_training_image(self, first["image"], target, class_names=self.class_names)
        get_event_storage().put_image("training", drawing.transpose(2, 0, 1))


def from_instances(instances: Instances) -> Detections:
    """Convert Detectron2's detections of an image."""
    return {
        "boxes": instances.pred_boxes.tensor,
        "scores": instances.scores,
        "labels": instances.pred_classes,
    }


def _to_instances(detections: Detections, image_size: tuple[int, int] | Tensor) -> Instances:
    return Instances(
        image_size,
        pred_boxes=Boxes(detections["boxes"]),
        scores=detections["scores"],
        pred_classes=detections["labels"],
    )
