"""Any model of timm that returns feature maps, by its name. This file alone needs timm
(``pip install 'retina_plugin[timm]'``)."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.config.registry import nearest_names
from retina_plugin.layers.norms import has_broken_gradient, subsample
from retina_plugin.modeling.backbones.feature import Backbone, ShapeSpec, WeightSource

NODE = "MODEL.RETINA_PLUGIN.TIMM"
NEEDED = ("res3", "res4", "res5")


class TimmBackbone(Backbone):
    """The maps of strides 4 (where there is one), 8, 16 and 32 of a timm model; of several with one
    stride the last.

    They are called res2 .. res5 after the stages of a ResNet, so that ``MODEL.FPN.IN_FEATURES`` and
    ``P6_FROM`` mean the same with every backbone.
    """

    def __init__(self, *, name: str, in_channels: int, drop_path: float, freeze_at: int) -> None:
        """Weights are random, and nothing is ever downloaded: ``MODEL.WEIGHTS`` may name a file of
        timm to start training from.

        Args:
            name: as ``timm.list_models()`` has it.
            in_channels: of the image.
            drop_path: largest rate of stochastic depth (arXiv 1603.09382), 0 turns it off.
            freeze_at: n stops everything that the map of stride 2^n depends on from learning, and
                its batch norms from taking statistics: 1 the stem, 2 also the stage of stride 4,
                ...; 0 nothing. In HRNet, where fine maps depend on coarse ones, that is nearly all
                of it.

        Raises:
            ImportError: timm is not installed.
            ValueError: an unknown name, a model without feature maps, without strides 8, 16 and 32,
                without drop path or of a fixed input size, or ``freeze_at`` below the stem.
        """
        super().__init__()
        self.name, self.model = name, _create(name, in_channels=in_channels, drop_path=drop_path)
        _avoid_broken_gradients(self.model)
        strides, widths = self.model.feature_info.reduction(), self.model.feature_info.channels()
        by_stride = {stride: index for index, stride in enumerate(strides)}
        self._indices = {f"res{i}": by_stride[2**i] for i in range(2, 6) if 2**i in by_stride}
        self._shapes = {key: ShapeSpec(widths[i], strides[i]) for key, i in self._indices.items()}
        if not set(NEEDED) <= set(self._shapes):
            raise ValueError(
                f"{NODE}.NAME: {name!r} has maps of strides {strides}, a detector "
                "needs 8, 16 and 32"
            )
        self._channels_last = str(getattr(self.model, "output_fmt", "")).endswith("NHWC")
        self._check_shapes(in_channels)
        if freeze_at > 0:
            self._freeze(freeze_at, in_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"res2": (N, C, H / 4, W / 4), ...}, rounded up."""
        maps = self.model(images)
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return {key: maps[index] for key, index in self._indices.items()}

    def weight_source(self) -> WeightSource:
        """The classifier of that name."""
        return _weight_source(self.name)

    def _check_shapes(self, in_channels: int) -> None:
        """Make sure of the shapes that timm states, on an image that is not square and no power of
        two."""
        height, width = 96, 160
        stated = {
            key: (s.channels, height // s.stride, width // s.stride)
            for key, s in self._shapes.items()
        }
        try:
            with torch.no_grad():
                found = {
                    key: tuple(x.shape[1:])
                    for key, x in self.eval()(torch.zeros(1, in_channels, height, width)).items()
                }
            problem = "" if found == stated else f"its maps are {found} and not {stated}"
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = (str(error) or type(error).__name__).splitlines()[0]
        self.train()
        if problem:
            raise ValueError(
                f"{NODE}.NAME: {self.name!r} does not take images of any size: at "
                f"{height}x{width}, {problem}"
            )

    def _freeze(self, freeze_at: int, in_channels: int) -> None:
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        strides = self.model.feature_info.reduction()
        if 2**freeze_at < strides[0]:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but the finest map of {self.name!r} has "
                f"stride {strides[0]}: "
                f"set it to 0, or to {round(math.log2(strides[0]))} or more"
            )
        maps = self.model.eval()(torch.zeros(1, in_channels, 96, 160))
        read = sum(
            x.sum() for x, stride in zip(maps, strides, strict=True) if stride <= 2**freeze_at
        )
        gradients = torch.autograd.grad(read, parameters, allow_unused=True)
        frozen = {
            name for name, gradient in zip(names, gradients, strict=True) if gradient is not None
        }
        _freeze(self.model.train(), frozen)


@functools.cache
def _weight_source(name: str) -> WeightSource:
    names = frozenset(_import_timm(name).create_model(name, pretrained=False).state_dict())
    mean, std = _pixel_constants(name) or (None, None)
    return WeightSource(names, mean and tuple(mean), std and tuple(std))


def pixel_constants(name: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel in 0..255 that a timm model is normalised with;
    RGB, as all of timm's are.

    Raises:
        ImportError, ValueError: see :class:`TimmBackbone`; also a model that does not say how its
            pixels are normalised.
    """
    pixels = _pixel_constants(name)
    if pixels is None:
        raise ValueError(
            f"{NODE}.NAME: {name!r} does not say how its pixels are normalised: set "
            "MODEL.PIXEL_MEAN and MODEL.PIXEL_STD (0 to 255) "
            "and INPUT.FORMAT"
        )
    return pixels


def _pixel_constants(name: str) -> tuple[list[float], list[float]] | None:
    cfg = _import_timm(name).get_pretrained_cfg(name)
    return cfg and tuple([round(255 * x, 3) for x in values] for values in (cfg.mean, cfg.std))


def _import_timm(name: str) -> ModuleType:
    """The library, once it is sure that it has a model called ``name``."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"{NODE}.NAME is {name!r}, which needs timm: pip install 'retina_plugin[timm]' "
            f"({error})"
        ) from error
    if not name:
        raise ValueError(
            f"{NODE}.NAME is empty: set it to one of timm.list_models(), such as resnet50d"
        )
    # so that no name of a place on the network, such as hf-hub:..., reaches timm
    if not timm.is_model(name):
        raise ValueError(
            f"{NODE}.NAME: timm {timm.__version__} has no model {name!r}. "
            f"{nearest_names(name, timm.list_models())}"
        )
    architecture, _, tag = name.partition(".")
    if tag and name not in (tagged := timm.list_pretrained(f"{architecture}.*")):
        raise ValueError(
            f"{NODE}.NAME: {architecture} has no weights {tag!r}. {nearest_names(name, tagged)}"
        )
    return timm


def _create(name: str, *, in_channels: int, drop_path: float) -> nn.Module:
    create = _import_timm(name).create_model
    arguments: dict[str, Any] = {
        "pretrained": False,
        "features_only": True,
        "in_chans": in_channels,
    }
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    try:
        try:
            return create(
                name, **arguments, strict_img_size=False
            )  # Swin and its kind take images of any size only then
        except TypeError:
            return create(name, **arguments)
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"{NODE}.DROP_PATH: {name!r} has no drop path; set it to 0") from error
        raise ValueError(
            f"{NODE}.NAME: {name!r} returns no feature maps: {error}. Choose one that takes "
            "features_only."
        ) from error


def _avoid_broken_gradients(model: nn.Module) -> None:
    """See :func:`retina_plugin.layers.norms.has_broken_gradient`; RepVGG, MobileOne, FastViT and a
    GERNet have such convolutions."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and has_broken_gradient(layer):
            layer.register_forward_pre_hook(
                functools.partial(_subsample_input, stride=layer.stride)
            )
            layer.stride = (1, 1)


def _subsample_input(
    layer: nn.Conv2d, inputs: tuple[Tensor], *, stride: tuple[int, int]
) -> tuple[Tensor]:
    return (subsample(inputs[0], stride),)


def _freeze(module: nn.Module, frozen: set[str], prefix: str = "") -> None:
    from timm.layers import freeze_batch_norm_2d

    for name, parameter in module.named_parameters(prefix.removesuffix("."), recurse=False):
        parameter.requires_grad_(name not in frozen)
    for name, child in module.named_children():
        names = [key for key, _ in child.named_parameters(f"{prefix}{name}")]
        if names and frozen.issuperset(names):
            module.add_module(name, freeze_batch_norm_2d(child.requires_grad_(False)))
        else:
            _freeze(child, frozen, f"{prefix}{name}.")
