"""From config to arguments: the one place of the pure half that reads keys.

``cfg`` is either host's config tree. Builders of backbones have Detectron2's signature ``(cfg, input_shape)``.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from retina_plugin.anchors import AnchorGenerator
from retina_plugin.backbones import Backbone, ResNet, ShapeSpec, build_resnet
from retina_plugin.head import RETINA_HEAD_REGISTRY
from retina_plugin.model import RetinaNet
from retina_plugin.necks import FPN
from retina_plugin.registry import Registry

BACKBONE_REGISTRY = Registry("backbone")


@BACKBONE_REGISTRY.register()
def build_retina_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """ResNet from ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT``; ``input_shape.channels`` of the image."""
    resnets = cfg.MODEL.RESNETS
    for key, only in (("RES5_DILATION", 1), ("DEFORM_ON_PER_STAGE", [False] * 4)):
        if resnets.get(key, only) != only:
            raise ValueError(f"MODEL.RESNETS.{key} must stay {only} with this backbone, found {resnets[key]}")
    return build_resnet(
        in_channels=input_shape.channels,
        depth=resnets.DEPTH,
        stem_channels=resnets.STEM_OUT_CHANNELS,
        res2_channels=resnets.RES2_OUT_CHANNELS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        num_groups=resnets.NUM_GROUPS,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
        norm=resnets.NORM,
        norm_groups=cfg.MODEL.RETINA_PLUGIN.NORM_GROUPS,
        out_features=resnets.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_retina_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """ResNet with FPN and RetinaNet's P6 and P7, from the keys of the ResNet, ``MODEL.FPN`` and ``MODEL.RETINA_PLUGIN.P6_FROM``."""
    return with_fpn(cfg, build_retina_resnet_backbone(cfg, input_shape))


def with_fpn(cfg: Any, bottom_up: Backbone) -> FPN:
    """Put the pyramid of ``MODEL.FPN`` on any backbone."""
    if cfg.MODEL.FPN.get("FUSE_TYPE", "sum") != "sum":
        raise ValueError(f"MODEL.FPN.FUSE_TYPE must stay 'sum' with this neck, found {cfg.MODEL.FPN.FUSE_TYPE!r}")
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        norm_groups=cfg.MODEL.RETINA_PLUGIN.NORM_GROUPS,
        top_feature=cfg.MODEL.RETINA_PLUGIN.P6_FROM,
    )


def import_plugins(cfg: Any) -> None:
    """Import the modules of ``MODEL.RETINA_PLUGIN.IMPORTS``, which register parts of their own.

    Raises:
        ImportError: a module that is not there; the message names the key.
    """
    for name in cfg.MODEL.RETINA_PLUGIN.IMPORTS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"MODEL.RETINA_PLUGIN.IMPORTS names {name!r}: {error}. Install it or put it on PYTHONPATH."
            ) from error


def build_backbone(cfg: Any) -> Backbone:
    """The backbone called ``MODEL.BACKBONE.NAME``."""
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))


def build_model(cfg: Any) -> RetinaNet:
    """The detector that ``cfg`` describes, on ``MODEL.DEVICE``, with fresh weights.

    Args:
        cfg: from :func:`retina_plugin.get_cfg`.

    Raises:
        KeyError: an unknown backbone or head; the nearest names are listed.
        ValueError: values that do not fit together; the key is named.
    """
    import_plugins(cfg)
    return RetinaNet(**model_arguments(cfg, build_backbone(cfg))).to(cfg.MODEL.DEVICE)


def model_arguments(cfg: Any, backbone: nn.Module) -> dict[str, Any]:
    """Keyword arguments of :class:`retina_plugin.model.RetinaNet`."""
    retinanet = cfg.MODEL.RETINANET
    if retinanet.NUM_CLASSES < 1:
        raise ValueError(
            f"MODEL.RETINANET.NUM_CLASSES is {retinanet.NUM_CLASSES}: tools/train_net.py takes the number from the training set, "
            "a model without one must be told it"
        )
    levels = backbone.output_shape()
    unknown = [name for name in retinanet.IN_FEATURES if name not in levels]
    if unknown:
        raise ValueError(
            f"MODEL.RETINANET.IN_FEATURES: {unknown[0]!r} is none of the backbone's levels {', '.join(levels)}"
        )
    shapes = [levels[name] for name in retinanet.IN_FEATURES]
    anchor_generator = AnchorGenerator(
        sizes=cfg.MODEL.ANCHOR_GENERATOR.SIZES,
        aspect_ratios=cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
        strides=[shape.stride for shape in shapes],
        offset=cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
    )
    return {
        "backbone": backbone,
        "head": _build_head(cfg, shapes, anchor_generator.num_anchors),
        "in_features": retinanet.IN_FEATURES,
        "anchor_generator": anchor_generator,
        "num_classes": retinanet.NUM_CLASSES,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "input_format": cfg.INPUT.FORMAT,
        "match_thresholds": _match_thresholds(retinanet),
        "class_loss": cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS,
        "focal_alpha": _focal_alpha(retinanet),
        "focal_gamma": retinanet.FOCAL_LOSS_GAMMA,
        "box_loss": retinanet.BBOX_REG_LOSS_TYPE,
        "smooth_l1_beta": retinanet.SMOOTH_L1_LOSS_BETA,
        "box_weights": retinanet.BBOX_REG_WEIGHTS,
        "score_threshold": retinanet.SCORE_THRESH_TEST,
        "topk_candidates": retinanet.TOPK_CANDIDATES_TEST,
        "nms_threshold": retinanet.NMS_THRESH_TEST,
        "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "inference_dtype": _inference_dtype(cfg.MODEL.RETINA_PLUGIN.INFERENCE_DTYPE),
    }


def _build_head(cfg: Any, shapes: list[ShapeSpec], num_anchors: int) -> nn.Module:
    retinanet = cfg.MODEL.RETINANET
    return RETINA_HEAD_REGISTRY.get(cfg.MODEL.RETINA_PLUGIN.HEAD)(
        in_channels=shapes[0].channels,
        num_levels=len(shapes),
        num_classes=retinanet.NUM_CLASSES,
        num_anchors=num_anchors,
        num_convs=retinanet.NUM_CONVS,
        norm=retinanet.NORM,
        norm_groups=cfg.MODEL.RETINA_PLUGIN.NORM_GROUPS,
        prior_prob=retinanet.PRIOR_PROB,
    )


def _inference_dtype(name: str) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(f"MODEL.RETINA_PLUGIN.INFERENCE_DTYPE must be one of {list(known)}, found {name!r}")
    return known[name]


def _focal_alpha(retinanet: Any) -> float | list[float] | None:
    """``FOCAL_LOSS_ALPHA``; None for an ``auto`` that nobody has turned into numbers, with which a model can detect but not learn."""
    alpha = retinanet.FOCAL_LOSS_ALPHA
    if isinstance(alpha, (list, tuple)) and len(alpha) != retinanet.NUM_CLASSES:
        raise ValueError(
            f"MODEL.RETINANET.FOCAL_LOSS_ALPHA has {len(alpha)} weights, and MODEL.RETINANET.NUM_CLASSES is {retinanet.NUM_CLASSES}: "
            "give one for each class, or a number, or auto"
        )
    return None if alpha == "auto" else alpha


def _match_thresholds(retinanet: Any) -> tuple[float, float]:
    """``IOU_THRESHOLDS`` and ``IOU_LABELS`` as (background below, object from)."""
    thresholds, labels = list(retinanet.IOU_THRESHOLDS), list(retinanet.IOU_LABELS)
    if (len(thresholds), labels) not in ((1, [0, 1]), (2, [0, -1, 1])) or thresholds != sorted(thresholds):
        raise ValueError(
            "MODEL.RETINANET.IOU_THRESHOLDS and IOU_LABELS must be [low, high] with [0, -1, 1], or [one] with [0, 1], "
            f"found {thresholds} with {labels}"
        )
    return thresholds[0], thresholds[-1]
