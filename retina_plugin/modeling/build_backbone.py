"""Backbones by name, with and without a neck, from a config.

``cfg`` is either host's config tree. Builders have Detectron2's signature ``(cfg, input_shape)``.
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
def build_retina_timm_backbone(cfg: Any, input_shape: ShapeSpec) -> TimmBackbone:
    """The timm model of ``MODEL.RETINA_PLUGIN.TIMM``, frozen as far as ``MODEL.BACKBONE.FREEZE_AT``
    says.

    Raises:
        ValueError: the constants of pixels are still Detectron2's defaults; see also
            :class:`retina_plugin.modeling.backbones.TimmBackbone`.
    """
    timm, name = cfg.MODEL.RETINA_PLUGIN.TIMM, cfg.MODEL.RETINA_PLUGIN.TIMM.NAME
    if _pixels(cfg) == PIXELS_OF_DETECTRON2:
        raise ValueError(
            "MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and INPUT.FORMAT are those of Detectron2's own "
            f"backbones, not of timm's {name!r}. "
            "tools/train_net.py takes the model's; elsewhere call "
            "retina_plugin.modeling.build.set_timm_pixel_constants(cfg), or set them."
        )
    return TimmBackbone(
        name=name,
        in_channels=input_shape.channels,
        drop_path=timm.DROP_PATH,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def set_timm_pixel_constants(cfg: Any) -> None:
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
                pair = partial(_build_pair, build, neck)
                pair.__module__ = NECK_REGISTRY.part(neck).module  # IMPORTS has to bring it
                BACKBONE_REGISTRY.register(name)(pair)


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
    return NECK_REGISTRY.construct(neck, cfg, bottom_up=bottom_up)


register_pairs()


def import_plugins(cfg: Any) -> None:
    """Import the modules of ``MODEL.RETINA_PLUGIN.IMPORTS``, which register parts of their own.

    Raises:
        ConfigError: a module that cannot be imported; the message names the key.
    """
    import_modules(cfg.MODEL.RETINA_PLUGIN.IMPORTS)
    register_pairs()


def build_backbone(cfg: Any) -> Backbone:
    """The backbone called ``MODEL.BACKBONE.NAME``."""
    BACKBONE_REGISTRY.require_known(cfg.MODEL.BACKBONE.NAME)
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(
        cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    )
