"""A checkpoint file as a dict with its parameters under "model", whoever wrote it."""

from __future__ import annotations

import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from retina_plugin.checkpoint.checksum import is_damaged
from retina_plugin.checkpoint.unpickle import read_pickle
from retina_plugin.config.files import require_regular_file

# Where programs keep a state_dict in their files: timm its moving average, which it takes before
# the other, Detectron2 and this project, timm and Lightning, Caffe2's Detectron.
STATE_DICT_KEYS = ("state_dict_ema", "model", "state_dict", "blobs")
DETECTRON2_ZOO = "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"
DETECTRON2_NAME = re.compile(r"(R|X)-\d+(-[\w-]+)?\.pkl|model_final_[0-9a-f]{6}\.pkl")
TORCHVISION_NAME = re.compile(
    r"(resnet(18|34|50|101|152)|resnext\d+_\d+x\d+d|wide_resnet\d+_2|[a-z]+_resnet50_fpn(_v2)?_coco)-[0-9a-f]{8}\.pth"
)
SAVE = "Save the state_dict of its model with torch.save."


class WeightsError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what does not fit and what to
    do."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """The content of a ``.pth`` or ``.pkl`` file, with the tensors of the parameters under "model".

    Neither kind can run code: ``.pth`` is read with ``weights_only``, ``.pkl`` by
    :mod:`retina_plugin.checkpoint.unpickle`.

    Raises:
        WeightsError: a missing or broken file, one that asks for code to be run, or one without
            parameters.
    """
    path = os.path.expanduser(path)
    require_file(path)
    try:
        damaged = is_damaged(path)
        content = None if damaged else _content(path)
    # of a damaged file torch may make any: EOFError, IndexError, struct.error, ...
    except Exception as error:
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: {_cause(error)}"
        ) from error
    if damaged:
        raise WeightsError(
            f"{path} is damaged: its checksum is wrong, so some bytes are not those that were "
            "written. "
            "Copy the file again, or take an earlier checkpoint."
        )
    checkpoint = _with_model(content)
    if checkpoint is None:
        raise WeightsError(
            f"{path}: expected a state_dict, or one under 'model', found {_describe(content)}"
        )
    for name, value in checkpoint["model"].items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise WeightsError(
                f"{path}: {name} is no dense tensor but {value.layout}, {value.dtype} on "
                f"{value.device}; save it as numbers on the CPU"
            )
    return checkpoint


def require_file(path: str) -> None:
    """
    Raises:
        WeightsError: there is no such file, and the message says where it can be had, or something
            else is in its place.
    """
    if "://" in path:
        raise WeightsError(
            f"MODEL.WEIGHTS {path}: nothing is downloaded here. Get the file"
            f"{download_hint(path)} and give its path, or '' to start from scratch."
        )
    try:
        require_regular_file(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"no checkpoint at {path}. Give an existing file as MODEL.WEIGHTS"
            f"{download_hint(path)}, or '' to start from scratch."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"checkpoint {path} cannot be read: {error.strerror or error}"
        ) from error


def download_hint(path: str) -> str:
    """ " (where a file of this name can be had)"; nothing where its name says nothing."""
    name = os.path.basename(path)
    if path.startswith("detectron2://") or DETECTRON2_NAME.fullmatch(name):
        return f" (files of this name are linked from {DETECTRON2_ZOO})"
    if TORCHVISION_NAME.fullmatch(name):
        return (
            " (torchvision.models.get_model_weights(...).DEFAULT.url is the address of "
            "torchvision's)"
        )
    return ""


def _content(path: str) -> Any:
    """The suffix decides how a file is read, as in Detectron2, but torch's own archives are
    recognised by their first bytes."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    with open(path, "rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if path.endswith(".pkl") and not archive:
            return read_pickle(file)
        # Before 2.6, torch ran these two even with weights_only.
        if archive and any(
            name.endswith("constants.pkl") for name in zipfile.ZipFile(file).namelist()
        ):
            raise pickle.UnpicklingError(f"it is a TorchScript archive, which is a program. {SAVE}")
        if tarfile.is_tarfile(path):
            raise pickle.UnpicklingError(f"it is a tar file of torch's first versions. {SAVE}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _cause(error: Exception) -> str:
    """One line. Of torch's own words, which advise to run a file that it has refused, only the name
    that the file asks for is kept."""
    text = str(error).strip()
    if "weights_only" not in text:
        return text.splitlines()[0] if text else type(error).__name__
    asked = re.search(r"\b(?:GLOBAL|class) ([\w.]+)", text)
    if asked:
        return f"it asks for {asked[1]}, and only tensors, numbers, text, lists and dicts are read"
    return "it is damaged, or torch.save did not write it"


def _with_model(content: Any) -> dict[str, Any] | None:
    """``content`` with its parameters under "model"; None when it has none."""
    if not isinstance(content, Mapping):
        return None
    for state_key in STATE_DICT_KEYS:
        state = content.get(state_key)
        if isinstance(state, Mapping):
            rest = {key: value for key, value in content.items() if key != state_key}
            return {**rest, "model": _tensors_of(state)}
    return (
        {"model": _tensors_of(content)}
        if any(isinstance(v, Tensor) for v in content.values())
        else None
    )


def _tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Without what is no tensor, and without the prefix that distributed training puts before every
    name."""
    return {
        str(name).removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _describe(found: Any) -> str:
    return f"a dict with {list(found)[:5]}" if isinstance(found, Mapping) else type(found).__name__
