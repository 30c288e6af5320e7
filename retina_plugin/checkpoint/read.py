"""Read a checkpoint file into a dict with its parameters under "model"."""

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

from retina_plugin.checkpoint import sources
from retina_plugin.checkpoint.checksum import is_damaged
from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.unpickle import read_pickle
from retina_plugin.config.files import require_regular_file

# The keys under which programs save the state_dict, the preferred one first: timm's moving average
# (timm also prefers it to the raw weights); Detectron2 and this project; timm and Lightning;
# Caffe2's Detectron.
STATE_DICT_KEYS = ("state_dict_ema", "model", "state_dict", "blobs")
DETECTRON2_ZOO = "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"
DETECTRON2_NAME = re.compile(r"(R|X)-\d+(-[\w-]+)?\.pkl|model_final_[0-9a-f]{6}\.pkl")
TORCHVISION_NAME = re.compile(
    r"(resnet(18|34|50|101|152)|resnext\d+_\d+x\d+d|wide_resnet\d+_2|[a-z]+_resnet50_fpn(_v2)?_coco)-[0-9a-f]{8}\.pth"
)
SAVE_HINT = "Save the state_dict of its model with torch.save."


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a ``.pth``, ``.pkl`` or ``.safetensors`` file without running code from it.

    ``.pth`` files are read with ``weights_only``, ``.pkl`` files by
    :mod:`retina_plugin.checkpoint.unpickle`.

    Args:
        path: a file, or an address of :mod:`retina_plugin.checkpoint.sources`.

    Returns:
        The content of the file, with {name: tensor on the CPU} under "model".

    Raises:
        WeightsError: the file is missing or broken, its pickle would run code, or it has no
            parameters.
    """
    file = local_file(path)
    try:
        damaged = is_damaged(file)
        content = None if damaged else _content(file)
    # torch can raise many types for a damaged file: EOFError, IndexError, struct.error, ...
    except Exception as error:
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: {_error_message(error)}"
        ) from error
    if damaged:
        raise WeightsError(
            f"{path} is damaged: its checksum is wrong, so some bytes have changed since it was "
            "written. Copy the file again, or use an earlier checkpoint."
        )
    checkpoint = _with_model(content)
    if checkpoint is None:
        raise WeightsError(
            f"{path}: expected a state_dict, or one under 'model', found {_describe(content)}"
        )
    for name, value in checkpoint["model"].items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise WeightsError(
                f"{path}: expected {name} to be a dense tensor on the CPU, found {value.layout}, "
                f"{value.dtype} on {value.device}. Convert it and save the file again"
            )
    return checkpoint


def local_file(path: str) -> str:
    """Return the path of a checkpoint on this machine. The file of an address is downloaded if it
    is not in the cache.

    Args:
        path: a file, or an address of :mod:`retina_plugin.checkpoint.sources`.

    Raises:
        WeightsError: the file does not exist or is not a regular file, or the address cannot be
            fetched; see :func:`retina_plugin.checkpoint.sources.fetch`.
    """
    if sources.is_address(path):
        return sources.fetch(path)
    path = os.path.expanduser(path)
    require_file(path)
    return path


def require_file(path: str) -> None:
    """Check that a checkpoint is a local file.

    Raises:
        WeightsError: the file does not exist or is not a regular file. If known, the message says
            where files of this name can be downloaded.
    """
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
    """Return " (where files of this name can be downloaded)"; "" for other names."""
    name = os.path.basename(path)
    if path.startswith("detectron2://") or DETECTRON2_NAME.fullmatch(name):
        return f" (files of this name are linked from {DETECTRON2_ZOO})"
    if TORCHVISION_NAME.fullmatch(name):
        return (
            " (torchvision.models.get_model_weights(...).DEFAULT.url is the address of "
            "torchvision's file)"
        )
    return ""


def _content(path: str) -> Any:
    """Read a file in the format that its suffix names, as Detectron2 does. A ``.pkl``
    file may also be a zip archive of ``torch.save``."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    with open(path, "rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if path.endswith(".pkl") and not archive:
            return read_pickle(file)
        # torch before 2.6 runs code from these two formats even with weights_only=True.
        if archive and any(
            name.endswith("constants.pkl") for name in zipfile.ZipFile(file).namelist()
        ):
            raise pickle.UnpicklingError(f"it is a TorchScript archive with code. {SAVE_HINT}")
        if tarfile.is_tarfile(path):
            raise pickle.UnpicklingError(
                f"it is in the tar format of early torch versions. {SAVE_HINT}"
            )
    return torch.load(path, map_location="cpu", weights_only=True)


def _error_message(error: Exception) -> str:
    """Return the error's message in one line. torch's message for an unsafe file is replaced,
    because it advises the user to load the file with ``weights_only=False``."""
    text = str(error).strip()
    if "weights_only" not in text:
        return text.splitlines()[0] if text else type(error).__name__
    asked = re.search(r"\b(?:GLOBAL|class) ([\w.]+)", text)
    if asked:
        return f"it asks for {asked[1]}, and only tensors, numbers, text, lists and dicts are read"
    return "it is damaged, or torch.save did not write it"


def _with_model(content: Any) -> dict[str, Any] | None:
    """Return ``content`` with its parameters under "model"; None if it has no parameters."""
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
    """Keep only the tensors, and remove the prefix "module." that distributed training adds."""
    return {
        str(name).removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _describe(found: Any) -> str:
    return f"a dict with {list(found)[:5]}" if isinstance(found, Mapping) else type(found).__name__
