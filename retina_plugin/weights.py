"""Checkpoints: read safely, matched in full, with the names of the classes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Buffers that Detectron2's own RetinaNet does not have; a checkpoint may lack them.
OPTIONAL = {"loss_normalizer"}


class WeightsError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what does not fit and what to do."""


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Load a detector's checkpoint of either host into ``model``.

    Args:
        model: from :func:`retina_plugin.build_model`.
        path: a ``.pth`` file: ``{"model": state_dict, ...}`` or a bare ``state_dict``. Read with ``weights_only``: it cannot run code.

    Returns:
        What the file says of itself, such as ``{"class_names": ["cat", "dog"]}``; empty when it says nothing.

    Raises:
        WeightsError: missing or broken file, or parameters that do not match ``model`` name for name and shape for shape.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint["model"]
    check_state(model, state, path)
    model.load_state_dict(state, strict=False)
    return dict(checkpoint.get("metadata", {}))


def checkpoint_metadata(class_names: Sequence[str], model: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of itself: "class_names", and "class_alpha" where classes were weighted one by one."""
    model = getattr(model, "module", model)  # what distributed training wraps
    alpha = getattr(model, "class_alpha", None)
    return {"class_names": list(class_names), **({} if alpha is None else {"class_alpha": alpha.tolist()})}


def read_checkpoint(path: str) -> dict[str, Any]:
    """The content of a ``.pth`` file, with the parameters under "model".

    Raises:
        WeightsError: see :func:`load_weights`.
    """
    if "://" in path:
        raise WeightsError(
            f"MODEL.WEIGHTS {path}: nothing is downloaded here. Get the file and give its path, or '' to start from scratch."
        )
    if not os.path.isfile(path):
        raise WeightsError(
            f"no checkpoint at {path}. Give an existing file as MODEL.WEIGHTS, or '' to start from scratch."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    if (
        isinstance(checkpoint, Mapping)
        and "model" not in checkpoint
        and all(isinstance(v, Tensor) for v in checkpoint.values())
    ):
        checkpoint = {"model": checkpoint}
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("model"), Mapping):
        raise WeightsError(f"{path}: expected a state_dict, or one under 'model', found {_describe(checkpoint)}")
    return dict(checkpoint)


def check_state(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Compare names and shapes of ``state`` with those of ``model``.

    Raises:
        WeightsError: any difference but the optional buffers; the message counts and shows them and says what they hint at.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and key not in OPTIONAL]
    surplus = [key for key in state if key not in own]
    shapes = [
        f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} in the model"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or surplus or shapes:
        raise WeightsError(mismatch(path, missing, surplus, shapes))


def mismatch(path: str, missing: list[str], surplus: list[str], shapes: list[str]) -> str:
    """What does not fit, counted and shown, and what that hints at.

    Args:
        path: of the checkpoint.
        missing, surplus: names of parameters.
        shapes: "name: (3, 4) in the file, (3, 5) in the model".
    """
    lines = [f"{path} does not fit this model."]
    for title, found in (("lacks", missing), ("has more", surplus), ("has other shapes", shapes)):
        if found:
            lines.append(f"  {title} ({len(found)}): " + ", ".join(found[:4]) + (", ..." if len(found) > 4 else ""))
    return "\n".join([*lines, "  " + _advice(missing, surplus, shapes)])


def _advice(missing: list[str], surplus: list[str], shapes: list[str]) -> str:
    if not missing and not surplus and all(line.startswith("head.cls_score") for line in shapes):
        return "Only the class head differs: MODEL.RETINANET.NUM_CLASSES is not that of the training of this file."
    return "Use the config that it was trained with: the config.yaml beside it, or the same --config-file."


def _describe(found: Any) -> str:
    return f"a dict with {list(found)[:5]}" if isinstance(found, Mapping) else type(found).__name__
