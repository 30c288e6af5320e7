"""Backbones from timm: every model of timm that returns feature maps.

This module needs timm (``pip install 'retina_plugin[timm]'``), which it imports on first use.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.config.registry import nearest_names
from retina_plugin.layers.norms import has_broken_gradient, subsample
from retina_plugin.modeling.backbones.feature import Backbone, ShapeSpec, WeightSource

NODE = "MODEL.RETINA_PLUGIN.TIMM"
REQUIRED_MAPS = ("res3", "res4", "res5")


class TimmBackbone(Backbone):
    """A timm model that returns its feature maps of strides 4 (if it exists), 8, 16 and 32.

    The maps are called res2 .. res5, like the stages of a ResNet, so that ``MODEL.FPN.IN_FEATURES``
    and ``P6_FROM`` have the same meaning with every backbone. If several maps have the same stride,
    the last one is used.
    """

    model: nn.Module

    def __init__(
        self,
        *,
        name: str,
        in_channels: int,
        drop_path: float,
        freeze_at: int,
        freeze_norms: bool,
    ) -> None:
        """Build the model with random weights; nothing is downloaded.

        Args:
            name: a name in ``timm.list_models()``.
            in_channels: number of channels of the image.
            drop_path: maximum rate of stochastic depth (arXiv 1603.09382); 0 turns it off.
            freeze_at: freeze the layers that the map of stride 2^freeze_at depends on, including
                the statistics of their batch norms: 1 is the stem, 2 also the stage of stride 4,
                and so on; 0 freezes nothing. In HRNet, where fine maps depend on coarse ones, a
                value above 0 freezes nearly all layers.
            freeze_norms: freeze the parameters and statistics of all batch norms.

        Raises:
            ImportError: if timm is not installed.
            ValueError: if the name is unknown; if the model returns no feature maps, has no strides
                8, 16 and 32, or has a fixed input size; if it has no drop path or no batch norms
                although the arguments need them; or if no map has a stride of 2^freeze_at or less.
        """
        super().__init__()
        self.name, self.model = name, _create(name, in_channels=in_channels, drop_path=drop_path)
        _avoid_broken_gradients(self.model)
        info: Any = self.model.feature_info  # timm has no type annotations
        strides, widths = info.reduction(), info.channels()
        by_stride = {stride: index for index, stride in enumerate(strides)}
        self._indices = {f"res{i}": by_stride[2**i] for i in range(2, 6) if 2**i in by_stride}
        self._shapes = {key: ShapeSpec(widths[i], strides[i]) for key, i in self._indices.items()}
        if not set(REQUIRED_MAPS) <= set(self._shapes):
            raise ValueError(
                f"{NODE}.NAME: {name!r} has maps of strides {strides}, but a detector "
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
        """Return {"res2": (N, C, H / 4, W / 4), ...}, rounded up, for images (N, 3, H, W)."""
        maps = self.model(images)
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return {key: maps[index] for key, index in self._indices.items()}

    def weight_source(self) -> WeightSource:
        """Return the timm classifier of the same name."""
        return _weight_source(self.name)

    def stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, beginning with the first layers.

        A stage contains the parameters that one map depends on and no finer map depends on. Frozen
        parameters and parameters that no map depends on are in the last stage.
        """
        strides = self._stride_of_parameters()
        coarsest = max(self._strides())
        stages: dict[int, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            stages.setdefault(strides.get(name, coarsest), []).append(parameter)
        return [stages[stride] for stride in sorted(stages)]

    def _check_shapes(self) -> None:
        """Check that the model accepts a 96x160 image and returns maps of the declared shapes.

        Raises:
            ValueError: if the model does not accept the image or returns other shapes.
        """
        height, width = 96, 160
        image = torch.zeros(1, self._in_channels, height, width)
        expected = {
            key: (s.channels, height // s.stride, width // s.stride)
            for key, s in self._shapes.items()
        }
        try:
            with torch.no_grad():
                found = {key: tuple(x.shape[1:]) for key, x in self.eval()(image).items()}
            problem = "" if found == expected else f"its maps are {found} and not {expected}"
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = (str(error) or type(error).__name__).splitlines()[0]
        self.train()
        if problem:
            raise ValueError(
                f"{NODE}.NAME: {self.name!r} does not take images of any size: at "
                f"{height}x{width}, {problem}"
            )

    def _freeze(self, freeze_at: int) -> None:
        finest = min(self._strides())
        if 2**freeze_at < finest:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but the finest map of {self.name!r} has "
                f"stride {finest}: set it to 0, or to {round(math.log2(finest))} or more"
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

    def _strides(self) -> list[int]:
        """Return the stride of each map of the timm model."""
        info: Any = self.model.feature_info  # timm has no type annotations
        strides: list[int] = info.reduction()
        return strides

    def _stride_of_parameters(self) -> dict[str, int]:
        """Return {name of a parameter: stride of the finest map that depends on it}.

        Frozen parameters and parameters that no map depends on are left out.
        """
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        training, device = self.model.training, next(self.model.parameters()).device
        maps = self.model.eval()(torch.zeros(1, self._in_channels, 96, 160, device=device))
        self.model.train(training)
        found: dict[str, int] = {}
        for stride, x in sorted(zip(self._strides(), maps, strict=True), key=lambda pair: pair[0]):
            if not x.requires_grad:  # all parameters that the map depends on are frozen
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
    mean, std = known_pixel_constants(name) or (None, None)
    return WeightSource(shapes, mean, std)


def pixel_constants(name: str) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of a timm model, RGB, for pixel values in 0..255.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if the model is unknown, or timm has no mean and standard deviation for it.
    """
    constants = known_pixel_constants(name)
    if constants is None:
        raise ValueError(
            f"{NODE}.NAME: timm has no pixel mean and standard deviation for {name!r}: set "
            "MODEL.PIXEL_MEAN and MODEL.PIXEL_STD (0 to 255) and INPUT.FORMAT"
        )
    return list(constants[0]), list(constants[1])


def known_pixel_constants(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the constants of :func:`pixel_constants`; None if timm has none for the model."""
    cfg = _import_timm(name).get_pretrained_cfg(name)
    if not cfg:
        return None
    mean, std = (tuple(round(255 * x, 3) for x in values) for values in (cfg.mean, cfg.std))
    return mean, std


def _import_timm(name: str) -> ModuleType:
    """Import timm and check that it has a model called ``name``.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if there is no such model, or no such weights (the part after a dot).
    """
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
    # This also rejects names such as hf-hub:..., for which timm would access the internet.
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
    library: ModuleType = timm
    return library


def _create(name: str, *, in_channels: int, drop_path: float) -> nn.Module:
    create: Callable[..., nn.Module] = _import_timm(name).create_model
    arguments: dict[str, Any] = {
        "pretrained": False,
        "features_only": True,
        "in_chans": in_channels,
    }
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    try:
        try:
            # Swin and similar models need strict_img_size=False to accept images of any size
            return create(name, **arguments, strict_img_size=False)
        except TypeError:
            return create(name, **arguments)
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"{NODE}.DROP_PATH: {name!r} has no drop path; set it to 0") from error
        raise ValueError(
            f"{NODE}.NAME: {name!r} returns no feature maps: {error}. Choose one that supports "
            "features_only."
        ) from error


def _avoid_broken_gradients(model: nn.Module) -> None:
    """Replace the stride of convolutions with a broken gradient by an equivalent hook.

    See :func:`retina_plugin.layers.norms.has_broken_gradient`. RepVGG, MobileOne, FastViT and a
    GERNet have such convolutions.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and has_broken_gradient(layer):
            layer.register_forward_pre_hook(
                functools.partial(_subsample_input, stride=layer.stride)
            )
            layer.stride = (1, 1)


def _subsample_input(
    layer: nn.Conv2d, inputs: tuple[Tensor], *, stride: tuple[int, ...]
) -> tuple[Tensor]:
    return (subsample(inputs[0], stride),)


def _freeze(module: nn.Module, frozen: set[str], prefix: str = "") -> None:
    """Freeze the named parameters, and the batch norms of submodules that are frozen entirely."""
    from timm.layers import freeze_batch_norm_2d

    for name, parameter in module.named_parameters(prefix.removesuffix("."), recurse=False):
        parameter.requires_grad_(name not in frozen)
    for name, child in module.named_children():
        names = [key for key, _ in child.named_parameters(f"{prefix}{name}")]
        if names and frozen.issuperset(names):
            module.add_module(name, freeze_batch_norm_2d(child.requires_grad_(False)))
        else:
            _freeze(child, frozen, f"{prefix}{name}.")
