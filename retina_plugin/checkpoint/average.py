"""Average the weights of several checkpoints of one run (SWA, arXiv 1803.05407)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.load import class_names_of, metadata_of
from retina_plugin.checkpoint.read import read_checkpoint

# metadata that does not depend on the weights, unlike score thresholds
KEPT_METADATA = ("class_names", "class_alpha", "pixel_range", "training_data", "config")


def average_checkpoints(paths: Sequence[str]) -> dict[str, Any]:
    """Return a checkpoint with the mean weights of several checkpoints.

    All floating point tensors are averaged, including the statistics of batch norms. Other tensors
    and the metadata are those of the last checkpoint. Checkpoints are read one after the other to
    save memory. The result has no optimizer state and no budget, so training cannot resume from it,
    but it can be the initial weights of a run.

    Args:
        paths: two or more files of one model, oldest first.

    Returns:
        The content of the file: "model", "metadata", "iteration" of the last checkpoint, and
        "averaged", the names of the files.

    Raises:
        WeightsError: there are fewer than two files, a file is broken or occurs twice, the models
            or their classes differ, or weights are NaN or infinite.
    """
    _require_several(paths)
    sums: dict[str, Tensor] = {}
    for path in paths:
        checkpoint = read_checkpoint(path)
        state, names = checkpoint["model"], class_names_of(metadata_of(checkpoint), path)
        if not sums:
            first_names = names
            sums = {name: torch.zeros_like(x, dtype=torch.float64) for name, x in state.items()}
        _require_same_model(path, state, paths[0], sums)
        if names != first_names:
            raise WeightsError(
                f"{path}: expected the classes of {paths[0]}, {_shown(first_names)}, found "
                f"{_shown(names)}. Average checkpoints of one run."
            )
        for name, value in state.items():
            sums[name] += value.double()
    averaged = {
        name: (sums[name] / len(paths)).to(value.dtype) if value.is_floating_point() else value
        for name, value in state.items()
    }
    metadata = metadata_of(checkpoint)
    return {
        "model": averaged,
        "metadata": {name: metadata[name] for name in KEPT_METADATA if name in metadata},
        "iteration": checkpoint.get("iteration", 0),
        "averaged": [os.path.basename(path) for path in paths],
    }


def _require_several(paths: Sequence[str]) -> None:
    if len(paths) < 2:
        found = f"only {paths[0]}" if paths else "none"
        raise WeightsError(
            f"an average needs two checkpoints or more, found {found}. A run keeps more of them "
            "with a smaller SOLVER.CHECKPOINT_PERIOD, and MODEL.RETINA_PLUGIN.SOLVER.KEEP 0"
        )
    seen: dict[str, str] = {}
    for path in paths:
        same = seen.setdefault(os.path.realpath(path), path)
        if same is not path:
            raise WeightsError(f"{path} is the same file as {same}: give each checkpoint once")


def _require_same_model(
    path: str, state: Mapping[str, Tensor], first: str, expected: Mapping[str, Tensor]
) -> None:
    """Check that names and shapes are those of the first checkpoint, and that values are finite."""
    for name in sorted({*state, *expected}):
        shapes = [tuple(s[name].shape) if name in s else "none" for s in (expected, state)]
        if shapes[0] != shapes[1]:
            raise WeightsError(
                f"{path} has another model than {first}: for {name}, expected the shape "
                f"{shapes[0]}, found {shapes[1]}. Average checkpoints of one run."
            )
        if not state[name].isfinite().all():
            raise WeightsError(
                f"{path}: {name} is NaN or infinite. Leave this checkpoint out of the average."
            )


def _shown(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "none"
