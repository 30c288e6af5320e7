"""Build a model from a config of either host."""

from __future__ import annotations

from typing import Any

import torch

from retina_plugin.losses import BOX_LOSSES, CLASS_LOSSES
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import ASSIGNER_REGISTRY
from retina_plugin.modeling.backbones import Backbone, ShapeSpec
from retina_plugin.modeling.box_coders import BOX_CODERS
from retina_plugin.modeling.build_backbone import build_backbone, import_plugins
from retina_plugin.modeling.build_views import build_views
from retina_plugin.modeling.contracts import require_attribute
from retina_plugin.modeling.criterion import CRITERIA
from retina_plugin.modeling.heads import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.postprocessing import PostProcessor
from retina_plugin.modeling.preprocessing import Preprocessor
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.suppressors import SUPPRESSORS


def build_model(cfg: Any) -> RetinaNet:
    """Build the detector that ``cfg`` describes, with initial weights, on ``MODEL.DEVICE``.

    Args:
        cfg: from :func:`retina_plugin.get_cfg`.

    Raises:
        KeyError: if the name of a part is unknown; the message lists the most similar names.
        ValueError: if values are invalid or do not match each other; the message names the key.
    """
    import_plugins(cfg)
    return RetinaNet(**model_parts(cfg, build_backbone(cfg))).to(cfg.MODEL.DEVICE)


def model_parts(cfg: Any, backbone: Backbone) -> dict[str, Any]:
    """Build the arguments of :class:`retina_plugin.modeling.RetinaNet` for a given backbone.

    Box coder, head and criterion are always built in this order, so that a seed always gives the
    same initial weights. The backbone may also be one of Detectron2.

    Raises:
        ValueError: if the number of classes is below 1, or the head cannot use the backbone's maps.
        KeyError: if the name of a part is unknown; the message lists the most similar names.
    """
    num_classes = cfg.MODEL.RETINANET.NUM_CLASSES
    if num_classes < 1:
        raise ValueError(
            f"MODEL.RETINANET.NUM_CLASSES is {num_classes}: set it to the number of classes "
            "(training sets it from the training set)"
        )
    shapes = _head_levels(cfg, backbone)
    anchor_generator = AnchorGenerator(
        sizes=cfg.MODEL.ANCHOR_GENERATOR.SIZES,
        aspect_ratios=cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
        strides=[shape.stride for shape in shapes],
        offset=cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
    )
    box_coder = BOX_CODERS.build(cfg)
    require_attribute("box coder", box_coder, "dim", meaning="how many numbers encode a box")
    head = RETINA_HEAD_REGISTRY.build(
        cfg,
        in_channels=shapes[0].channels,
        num_levels=len(shapes),
        num_classes=num_classes,
        num_anchors=anchor_generator.num_anchors,
        box_dim=box_coder.dim,
    )
    require_attribute(
        "head", head, "num_classes", num_classes, meaning="how many classes it predicts"
    )
    criterion = CRITERIA.build(
        cfg,
        num_classes=num_classes,
        box_coder=box_coder,
        class_loss=CLASS_LOSSES.build(cfg),
        box_loss=BOX_LOSSES.build(cfg),
    )
    postprocessor = build_postprocessor(cfg, box_coder)
    return {
        "backbone": backbone,
        "head": head,
        "in_features": cfg.MODEL.RETINANET.IN_FEATURES,
        "anchor_generator": anchor_generator,
        "assigner": ASSIGNER_REGISTRY.build(cfg, box_coder=box_coder),
        "criterion": criterion,
        "postprocessor": postprocessor,
        "preprocessor": build_preprocessor(cfg, backbone.size_divisibility),
        "views": build_views(cfg, postprocessor.suppressor),
        "inference_dtype": _inference_dtype(cfg.MODEL.RETINA_PLUGIN.INFERENCE_DTYPE),
    }


def _head_levels(cfg: Any, backbone: Backbone) -> list[ShapeSpec]:
    """Return the shapes of the maps that the head uses, ``MODEL.RETINANET.IN_FEATURES``."""
    levels, names = backbone.output_shape(), cfg.MODEL.RETINANET.IN_FEATURES
    unknown = [name for name in names if name not in levels]
    if unknown:
        raise ValueError(
            f"MODEL.RETINANET.IN_FEATURES: the backbone has no map {unknown[0]!r}, only "
            f"{', '.join(levels)}"
        )
    shapes = [levels[name] for name in names]
    if len({shape.channels for shape in shapes}) > 1:
        raise ValueError(
            f"MODEL.BACKBONE.NAME: the maps of {cfg.MODEL.BACKBONE.NAME} have "
            f"{[shape.channels for shape in shapes]} channels, but the head needs the same number "
            "in each: use a backbone with a neck, such as build_retina_resnet_fpn_backbone"
        )
    return shapes


def build_postprocessor(cfg: Any, box_coder: Any) -> PostProcessor:
    """Build the post-processor of a config for the boxes of ``box_coder``."""
    return PostProcessor(
        box_coder=box_coder,
        suppressor=SUPPRESSORS.build(cfg),
        score_threshold=cfg.MODEL.RETINANET.SCORE_THRESH_TEST,
        topk_candidates=cfg.MODEL.RETINANET.TOPK_CANDIDATES_TEST,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
    )


def build_preprocessor(cfg: Any, size_divisibility: int) -> Preprocessor:
    """Build the preprocessor of a config; see :class:`Preprocessor`."""
    return Preprocessor(
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        input_format=cfg.INPUT.FORMAT,
        size_divisibility=size_divisibility,
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
    )


def _inference_dtype(name: str) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(
            f"MODEL.RETINA_PLUGIN.INFERENCE_DTYPE must be one of {list(known)}, found {name!r}"
        )
    return known[name]
