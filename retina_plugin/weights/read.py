"""A checkpoint file as a dict with its parameters under "model", whoever wrote it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from retina_plugin.weights.unpickle import read_pickle

# Where programs keep a state_dict in their files: Detectron2 and this project, timm and Lightning, Caffe2's Detectron.
HOMES = ("model", "state_dict", "blobs")
DETECTRON2_ZOO = "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"


class WeightsError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what does not fit and what to do."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """The content of a ``.pth`` or ``.pkl`` file, with the tensors of the parameters under "model".

    Neither kind can run code: ``.pth`` is read with ``weights_only``, ``.pkl`` by :mod:`retina_plugin.weights.unpickle`.

    Raises:
        WeightsError: a missing or broken file, one that asks for code to be run, or one without parameters.
    """
    require_file(path)
    try:
        content = _content(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    checkpoint = _with_model(content)
    if checkpoint is None:
        raise WeightsError(f"{path}: expected a state_dict, or one under 'model', found {_describe(content)}")
    return checkpoint


def require_file(path: str) -> None:
    """
    Raises:
        WeightsError: there is no such file; the message says where it can be had.
    """
    if "://" in path:
        raise WeightsError(
            f"MODEL.WEIGHTS {path}: nothing is downloaded here. Get the file{source_of(path)} and give its path, or '' to start "
            "from scratch."
        )
    if not os.path.isfile(path):
        raise WeightsError(
            f"no checkpoint at {path}. Give an existing file as MODEL.WEIGHTS{source_of(path)}, or '' to start from scratch."
        )


def source_of(path: str) -> str:
    """ " (where a file of this name can be had)"; nothing where its name says nothing."""
    name = os.path.basename(path)
    if path.startswith("detectron2://") or name in ("R-50.pkl", "R-101.pkl") or name.startswith("model_final_"):
        return f" (files of this name are linked from {DETECTRON2_ZOO})"
    if name.startswith(("resnet", "resnext", "wide_resnet", "retinanet_resnet50_fpn")):
        return " (torchvision.models.get_model_weights(...).DEFAULT.url is the address of torchvision's)"
    return ""


def _content(path: str) -> Any:
    """By suffix, as Detectron2 does; only that torch's own archives are told by their first bytes, whatever they are called."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    with open(path, "rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if path.endswith(".pkl") and not archive:
            return read_pickle(file)
    return torch.load(path, map_location="cpu", weights_only=True)


def _with_model(content: Any) -> dict[str, Any] | None:
    """``content`` with its parameters under "model"; None when it has none."""
    if not isinstance(content, Mapping):
        return None
    for home in HOMES:
        if isinstance(content.get(home), Mapping):
            state, rest = content[home], {key: value for key, value in content.items() if key != home}
            return {**rest, "model": _tensors_of(state)}
    return {"model": _tensors_of(content)} if any(isinstance(v, Tensor) for v in content.values()) else None


def _tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Without what is no tensor, and without the prefix that distributed training puts before every name."""
    return {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def _describe(found: Any) -> str:
    return f"a dict with {list(found)[:5]}" if isinstance(found, Mapping) else type(found).__name__
