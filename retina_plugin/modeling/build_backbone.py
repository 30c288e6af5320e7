"""Build backbones from a config, with or without a neck.

``cfg`` may be a config tree of either host. The builders have Detectron2's signature
``(cfg, input_shape)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from retina_plugin.config.imports import import_modules
from retina_plugin.config.registry import Registry
from retina_plugin.modeling.backbones import Backbone, ResNet, ShapeSpec, TimmBackbone, build_resnet
from retina_plugin.modeling.backbones.timm import pixel_constants
from retina_plugin.modeling.necks import NECK_REGISTRY, Pyramid

BACKBONE_REGISTRY = Registry("backbone", choice_key="MODEL.BACKBONE.NAME")
# Detectron2's default mean, standard deviation and channel order; they fit MSRA's ResNets.
PIXELS_OF_DETECTRON2 = ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], "BGR")


@BACKBONE_REGISTRY.register()
def build_retina_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Build a ResNet from ``MODEL.RESNETS``, ``MODEL.RETINA_PLUGIN.RESNETS`` and
    ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        ValueError: if a value is not supported; see also
            :func:`retina_plugin.modeling.backbones.build_resnet`.
    """
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
def build_retina_timm_backbone(cfg: Any, input_shape: ShapeSpec) -> TimmBackbone:
    """Build the backbone from ``MODEL.RETINA_PLUGIN.TIMM`` and ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        ValueError: if the pixel mean, standard deviation and channel order are Detectron2's
            defaults; see also :class:`retina_plugin.modeling.backbones.TimmBackbone`.
    """
    timm, name = cfg.MODEL.RETINA_PLUGIN.TIMM, cfg.MODEL.RETINA_PLUGIN.TIMM.NAME
    if _pixels(cfg) == PIXELS_OF_DETECTRON2:
        raise ValueError(
            "MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and INPUT.FORMAT are Detectron2's defaults, which "
            f"are wrong for timm's {name!r}: set them, or call retina_plugin.modeling."
            "build_backbone.set_timm_pixel_constants(cfg), as retina train does"
        )
    return TimmBackbone(
        name=name,
        in_channels=input_shape.channels,
        drop_path=timm.DROP_PATH,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        freeze_norms=timm.FREEZE_NORMS,
    )


def set_timm_pixel_constants(cfg: Any) -> None:
    """Set pixel mean, standard deviation and channel order to those of the timm backbone.

    Nothing changes if the backbone is not from timm or if the config sets any of the three. Call
    this function before data are loaded, because the data loader reads ``INPUT.FORMAT``.

    Raises:
        ImportError, ValueError: see :func:`retina_plugin.modeling.backbones.timm.pixel_constants`
            and :func:`import_plugins`.
    """
    import_plugins(cfg)  # a plugin may register the model in timm
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


# register_pairs() combines these with the necks: build_retina_resnet_fpn_backbone, ...
BACKBONES = {"resnet": build_retina_resnet_backbone, "timm": build_retina_timm_backbone}


def register_pairs() -> None:
    """Register each entry of :data:`BACKBONES` with each neck, including those of plugins.

    Pairs that are registered already are skipped.
    """
    for backbone, build in BACKBONES.items():
        for neck in NECK_REGISTRY:
            name = f"build_retina_{backbone}_{neck}_backbone"
            if name not in BACKBONE_REGISTRY:
                pair = partial(_build_pair, build, neck)
                # error messages name the neck's module, because a config lists it in IMPORTS
                pair.__module__ = NECK_REGISTRY.part(neck).module
                BACKBONE_REGISTRY.register(name)(pair)


def _build_pair(
    build: Callable[[Any, ShapeSpec], Backbone], neck: str, cfg: Any, input_shape: ShapeSpec
) -> Pyramid:
    return with_neck(cfg, build(cfg, input_shape), neck=neck)


def with_neck(cfg: Any, bottom_up: Backbone, *, neck: str = "fpn") -> Pyramid:
    """Add the neck of ``MODEL.FPN`` and ``MODEL.RETINA_PLUGIN.NECK`` to any backbone.

    Args:
        cfg: contains the keys of the neck.
        bottom_up: the backbone.
        neck: a name in :data:`retina_plugin.modeling.necks.NECK_REGISTRY`.

    Raises:
        KeyError: if the neck is unknown.
        ValueError: if a value is not supported; see also
            :class:`retina_plugin.modeling.necks.Pyramid`.
    """
    if cfg.MODEL.FPN.get("FUSE_TYPE", "sum") != "sum":
        raise ValueError(
            f"MODEL.FPN.FUSE_TYPE must stay 'sum' with this neck, found {cfg.MODEL.FPN.FUSE_TYPE!r}"
        )
    pyramid: Pyramid = NECK_REGISTRY.construct(neck, cfg, bottom_up=bottom_up)
    return pyramid


register_pairs()


def import_plugins(cfg: Any) -> None:
    """Import the modules of ``MODEL.RETINA_PLUGIN.IMPORTS``, which register additional parts.

    Raises:
        ConfigError: if a module cannot be imported; the message names the key.
    """
    import_modules(cfg.MODEL.RETINA_PLUGIN.IMPORTS)
    register_pairs()


def build_backbone(cfg: Any) -> Backbone:
    """Build the backbone called ``MODEL.BACKBONE.NAME``.

    Raises:
        KeyError: if the name is unknown; the message lists the most similar names.
    """
    BACKBONE_REGISTRY.require_known(cfg.MODEL.BACKBONE.NAME)
    build: Callable[[Any, ShapeSpec], Backbone] = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)
    return build(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))
