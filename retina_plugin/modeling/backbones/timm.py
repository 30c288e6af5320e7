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

    def __init__(
        self,
        *,
        name: str,
        in_channels: int,
        drop_path: float,
        freeze_at: int,
        freeze_norms: bool,
    ) -> None:
        """Weights are random, and nothing is downloaded here; ``MODEL.WEIGHTS`` loads weights.

        Args:
            name: as ``timm.list_models()`` has it.
            in_channels: of the image.
            drop_path: largest rate of stochastic depth (arXiv 1603.09382), 0 turns it off.
            freeze_at: n stops everything that the map of stride 2^n depends on from learning, and
                its batch norms from taking statistics: 1 the stem, 2 also the stage of stride 4,
                ...; 0 nothing. In HRNet, where fine maps depend on coarse ones, that is nearly all
                of it.
            freeze_norms: no batch norm takes statistics or learns.

        Raises:
            ImportError: timm is not installed.
            ValueError: an unknown name, a model without feature maps, without strides 8, 16 and 32,
                without drop path or of a fixed input size, ``freeze_at`` below the stem, or
                ``freeze_norms`` for a model without batch norms.
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
        self._in_channels = in_channels
        self._check_shapes()
        if freeze_norms:
            self._freeze_norms()
        if freeze_at > 0:
            self._freeze(freeze_at)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"res2": (N, C, H / 4, W / 4), ...}, rounded up."""
        maps = self.model(images)
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return {key: maps[index] for key, index in self._indices.items()}

    def weight_source(self) -> WeightSource:
        """The classifier of that name."""
        return _weight_source(self.name)

    def stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, from the image on.

        A stage is everything that a map depends on and no finer map does: with maps of strides 2,
        4, 8, 16 and 32, five stages. Frozen parameters and those without influence on any map are
        in the last one.
        """
        strides = self._stride_of_parameters()
        coarsest = max(self.model.feature_info.reduction())
        stages: dict[int, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            stages.setdefault(strides.get(name, coarsest), []).append(parameter)
        return [stages[stride] for stride in sorted(stages)]

    def _check_shapes(self) -> None:
        """Make sure of the shapes that timm states, on an image that is not square and no power of
        two."""
        height, width = 96, 160
        image = torch.zeros(1, self._in_channels, height, width)
        stated = {
            key: (s.channels, height // s.stride, width // s.stride)
            for key, s in self._shapes.items()
        }
        try:
            with torch.no_grad():
                found = {key: tuple(x.shape[1:]) for key, x in self.eval()(image).items()}
            problem = "" if found == stated else f"its maps are {found} and not {stated}"
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = (str(error) or type(error).__name__).splitlines()[0]
        self.train()
        if problem:
            raise ValueError(
                f"{NODE}.NAME: {self.name!r} does not take images of any size: at "
                f"{height}x{width}, {problem}"
            )

    def _freeze(self, freeze_at: int) -> None:
        finest = min(self.model.feature_info.reduction())
        if 2**freeze_at < finest:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but the finest map of {self.name!r} has "
                f"stride {finest}: "
                f"set it to 0, or to {round(math.log2(finest))} or more"
            )
        strides = self._stride_of_parameters()
        _freeze(self.model, {name for name, stride in strides.items() if stride <= 2**freeze_at})

    def _freeze_norms(self) -> None:
        from timm.layers import freeze_batch_norm_2d

        if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules()):
            raise ValueError(
                f"{NODE}.FREEZE_NORMS is True, but {self.name!r} has no batch norms that could be "
                "frozen: set it to False"
            )
        freeze_batch_norm_2d(self.model)

    def _stride_of_parameters(self) -> dict[str, int]:
        """Return the stride of the finest map that depends on each parameter, by its name.

        Frozen parameters and parameters without influence on a map are left out.
        """
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        training, device = self.model.training, next(self.model.parameters()).device
        maps = self.model.eval()(torch.zeros(1, self._in_channels, 96, 160, device=device))
        self.model.train(training)
        found: dict[str, int] = {}
        for stride, x in sorted(
            zip(self.model.feature_info.reduction(), maps, strict=True), key=lambda pair: pair[0]
        ):
            if not x.requires_grad:  # all of it is frozen
                continue
            gradients = torch.autograd.grad(
                x.sum(), list(named.values()), allow_unused=True, retain_graph=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    found.setdefault(name, stride)
        return found


@functools.cache
def _weight_source(name: str) -> WeightSource:
    state = _import_timm(name).create_model(name, pretrained=False).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    mean, std = _pixel_constants(name) or (None, None)
    return WeightSource(shapes, mean and tuple(mean), std and tuple(std))


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
