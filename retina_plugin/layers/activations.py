"""Activations by their name in a config."""

from __future__ import annotations

from functools import partial

from torch import nn

from retina_plugin.config.registry import nearest_names

ACTIVATIONS = {
    "none": nn.Identity,
    "relu": partial(nn.ReLU, inplace=True),  # its backward pass needs only what it returns
    "leaky_relu": partial(nn.LeakyReLU, 0.1),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}


def build_activation(name: str, *, key: str) -> nn.Module:
    """The activation called ``name``, without parameters.

    Args:
        name: one of :data:`ACTIVATIONS`.
        key: of the config, for the message.

    Raises:
        ValueError: an unknown name; the nearest_names known ones are listed.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{key}: no activation is called {name!r}. {nearest_names(name, ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]()
