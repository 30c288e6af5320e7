"""From config to arguments: the one place of the pure half that reads keys.

``cfg`` is either host's config tree. Builders of backbones have Detectron2's signature
``(cfg, input_shape)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from retina_plugin.config.registry import Registry
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.backbones import Backbone, ResNet, ShapeSpec, Timm, build_resnet
from retina_plugin.modeling.backbones.timm import pixel_constants
from retina_plugin.modeling.heads.retina_head import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.necks import NECK_REGISTRY, Pyramid
from retina_plugin.modeling.retinanet import RetinaNet

BACKBONE_REGISTRY = Registry("backbone")
# its defaults, those of MSRA's ResNets
PIXELS_OF_DETECTRON2 = ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], "BGR")


@BACKBONE_REGISTRY.register()
def build_retina_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """ResNet from ``MODEL.RESNETS``, ``MODEL.RETINA_PLUGIN.RESNETS`` and
    ``MODEL.BACKBONE.FREEZE_AT``."""
    resnets, more = cfg.MODEL.RESNETS, cfg.MODEL.RETINA_PLUGIN.RESNETS
    for key, only in (("RES5_DILATION", 1), ("DEFORM_ON_PER_STAGE", [False] * 4)):
        if resnets.get(key, only) != only:
            raise ValueError(
                f"MODEL.RESNETS.{key} must stay {only} with this backbone, found {resnets[key]}"
            )
    return build_resnet(
        in_channels=input_shape.channels,
        depth=resnets.DEPTH,
        stem_channels=resnets.STEM_OUT_CHANNELS,
        res2_channels=resnets.RES2_OUT_CHANNELS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        num_groups=resnets.NUM_GROUPS,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
        deep_stem=more.DEEP_STEM,
        average_shortcut=more.AVG_POOL_SHORTCUT,
        norm=resnets.NORM,
        norm_groups=cfg.MODEL.RETINA_PLUGIN.NORM_GROUPS,
        standardized=more.WEIGHT_STANDARDIZATION,
        zero_init=more.ZERO_INIT,
        out_features=resnets.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_retina_timm_backbone(cfg: Any, input_shape: ShapeSpec) -> Timm:
    """The timm model of ``MODEL.RETINA_PLUGIN.TIMM``, frozen as far as ``MODEL.BACKBONE.FREEZE_AT``
    says.

    Raises:
        ValueError: the constants of pixels are still Detectron2's defaults; see also
            :class:`retina_plugin.modeling.backbones.Timm`.
    """
    timm, name = cfg.MODEL.RETINA_PLUGIN.TIMM, cfg.MODEL.RETINA_PLUGIN.TIMM.NAME
    if _pixels(cfg) == PIXELS_OF_DETECTRON2:
        raise ValueError(
            "MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and INPUT.FORMAT are those of Detectron2's own "
            f"backbones, not of timm's {name!r}. "
            "tools/train_net.py takes the model's; elsewhere call "
            "retina_plugin.modeling.build.take_pixels_of_timm(cfg), or set them."
        )
    return Timm(
        name=name,
        in_channels=input_shape.channels,
        drop_path=timm.DROP_PATH,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def take_pixels_of_timm(cfg: Any) -> None:
    """Give a timm backbone the normalisation and order of channels that it was trained with, unless
    the config has set any of them.

    They are keys that hosts read (``MODEL.PIXEL_MEAN``, ``MODEL.PIXEL_STD``, ``INPUT.FORMAT``), so
    this comes before data are loaded.

    Raises:
        ImportError, ValueError: see :func:`retina_plugin.modeling.backbones.timm.pixel_constants`
            and :func:`import_plugins`.
    """
    import_plugins(cfg)  # one of them may register the model
    if (
        cfg.MODEL.BACKBONE.NAME.startswith("build_retina_timm_")
        and _pixels(cfg) == PIXELS_OF_DETECTRON2
    ):
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = pixel_constants(
            cfg.MODEL.RETINA_PLUGIN.TIMM.NAME
        )
        cfg.INPUT.FORMAT = "RGB"


def _pixels(cfg: Any) -> tuple[list[float], list[float], str]:
    return list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD), cfg.INPUT.FORMAT


# With a neck: build_retina_resnet_fpn_backbone, build_retina_timm_bifpn_backbone, ...
BACKBONES = {"resnet": build_retina_resnet_backbone, "timm": build_retina_timm_backbone}


def register_pairs() -> None:
    """Register each of :data:`BACKBONES` with each neck, those of plugins too; twice is
    harmless."""
    for backbone, build in BACKBONES.items():
        for neck in NECK_REGISTRY:
            name = f"build_retina_{backbone}_{neck}_backbone"
            if name not in BACKBONE_REGISTRY:
                BACKBONE_REGISTRY.register(name)(partial(_build_pair, build, neck))


def _build_pair(
    build: Callable[[Any, ShapeSpec], Backbone], neck: str, cfg: Any, input_shape: ShapeSpec
) -> Pyramid:
    return with_neck(cfg, build(cfg, input_shape), neck=neck)


def with_neck(cfg: Any, bottom_up: Backbone, *, neck: str = "fpn") -> Pyramid:
    """Put the pyramid of ``MODEL.FPN`` and ``MODEL.RETINA_PLUGIN.NECK`` on any backbone.

    Args:
        cfg: with the keys of the neck.
        bottom_up: the backbone.
        neck: a name of :data:`retina_plugin.modeling.necks.NECK_REGISTRY`.
    """
    if cfg.MODEL.FPN.get("FUSE_TYPE", "sum") != "sum":
        raise ValueError(
            f"MODEL.FPN.FUSE_TYPE must stay 'sum' with this neck, found {cfg.MODEL.FPN.FUSE_TYPE!r}"
        )
    kind, plugin = NECK_REGISTRY.get(neck), cfg.MODEL.RETINA_PLUGIN
    return kind(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        num_levels=plugin.NECK.LEVELS,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        norm_groups=plugin.NORM_GROUPS,
        activation=plugin.NECK.ACTIVATION,
        top_feature=plugin.P6_FROM,
        **{argument: attrgetter(key)(plugin) for argument, key in kind.KEYS.items()},
    )


register_pairs()


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
                f"MODEL.RETINA_PLUGIN.IMPORTS names {name!r}: {error}. Install it or put it on "
                "PYTHONPATH."
            ) from error
    register_pairs()


def build_backbone(cfg: Any) -> Backbone:
    """The backbone called ``MODEL.BACKBONE.NAME``."""
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(
        cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    )


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
    """Keyword arguments of :class:`retina_plugin.modeling.retinanet.RetinaNet`."""
    retinanet = cfg.MODEL.RETINANET
    if retinanet.NUM_CLASSES < 1:
        raise ValueError(
            f"MODEL.RETINANET.NUM_CLASSES is {retinanet.NUM_CLASSES}: tools/train_net.py takes the "
            "number from the training set, "
            "a model without one must be told it"
        )
    levels = backbone.output_shape()
    unknown = [name for name in retinanet.IN_FEATURES if name not in levels]
    if unknown:
        raise ValueError(
            f"MODEL.RETINANET.IN_FEATURES: {unknown[0]!r} is none of the backbone's levels "
            f"{', '.join(levels)}"
        )
    shapes = [levels[name] for name in retinanet.IN_FEATURES]
    if len({shape.channels for shape in shapes}) > 1:
        raise ValueError(
            f"MODEL.BACKBONE.NAME: levels of {cfg.MODEL.BACKBONE.NAME} have "
            f"{[shape.channels for shape in shapes]} channels, and the head "
            "needs as many in each: take a backbone with a neck, such as "
            "build_retina_resnet_fpn_backbone"
        )
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
    retinanet, plugin = cfg.MODEL.RETINANET, cfg.MODEL.RETINA_PLUGIN
    prior = retinanet.PRIOR_PROB
    return RETINA_HEAD_REGISTRY.get(plugin.HEAD)(
        in_channels=shapes[0].channels,
        num_levels=len(shapes),
        num_classes=retinanet.NUM_CLASSES,
        num_anchors=num_anchors,
        num_convs=retinanet.NUM_CONVS,
        width=plugin.HEAD_WIDTH or shapes[0].channels,
        norm=retinanet.NORM,
        norm_groups=plugin.NORM_GROUPS,
        activation=plugin.HEAD_ACTIVATION,
        separable=plugin.HEAD_SEPARABLE,
        level_scale=plugin.HEAD_LEVEL_SCALE,
        # a run has turned auto into numbers
        prior_prob=plugin.AUTO_PRIOR_BASE if prior == "auto" else prior,
    )


def _inference_dtype(name: str) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(
            f"MODEL.RETINA_PLUGIN.INFERENCE_DTYPE must be one of {list(known)}, found {name!r}"
        )
    return known[name]


def _focal_alpha(retinanet: Any) -> float | list[float] | None:
    """``FOCAL_LOSS_ALPHA``; None for an ``auto`` that nobody has turned into numbers, with which a
    model can detect but not learn."""
    alpha = retinanet.FOCAL_LOSS_ALPHA
    if isinstance(alpha, (list, tuple)) and len(alpha) != retinanet.NUM_CLASSES:
        raise ValueError(
            f"MODEL.RETINANET.FOCAL_LOSS_ALPHA has {len(alpha)} weights, and "
            f"MODEL.RETINANET.NUM_CLASSES is {retinanet.NUM_CLASSES}: "
            "give one for each class, or a number, or auto"
        )
    return None if alpha == "auto" else alpha


def _match_thresholds(retinanet: Any) -> tuple[float, float]:
    """``IOU_THRESHOLDS`` and ``IOU_LABELS`` as (background below, object from)."""
    thresholds, labels = list(retinanet.IOU_THRESHOLDS), list(retinanet.IOU_LABELS)
    if (len(thresholds), labels) not in ((1, [0, 1]), (2, [0, -1, 1])) or thresholds != sorted(
        thresholds
    ):
        raise ValueError(
            "MODEL.RETINANET.IOU_THRESHOLDS and IOU_LABELS must be [low, high] with [0, -1, 1], or "
            "[one] with [0, 1], "
            f"found {thresholds} with {labels}"
        )
    return thresholds[0], thresholds[-1]
