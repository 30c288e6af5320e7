"""Activation functions and their names in a config."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from retina_plugin.config.registry import nearest_names

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": partial(nn.ReLU, inplace=True),  # in place: backward needs only the output
    "leaky_relu": partial(nn.LeakyReLU, 0.1),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}


def build_activation(name: str, *, key: str) -> nn.Module:
    """Build the activation called ``name``. It has no parameters.

    Args:
        name: a key of :data:`ACTIVATIONS`.
        key: the config key that holds ``name``, for the error message.

    Raises:
        ValueError: if the name is unknown; the message lists the most similar names.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{key}: no activation is called {name!r}. {nearest_names(name, ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]()
