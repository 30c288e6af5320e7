"""Weights into a model: all of them, to detect with, or those of a backbone at least, to start
training from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from retina_plugin.checkpoint.formats import TrainingInputs, detect_format
from retina_plugin.checkpoint.match import CheckpointMatch, compare_parameters, weight_source_of
from retina_plugin.checkpoint.mismatch import describe_mismatch
from retina_plugin.checkpoint.read import WeightsError, read_checkpoint
from retina_plugin.modeling.anchors import AnchorGenerator


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Load a detector's checkpoint into ``model``, every parameter of it.

    Args:
        model: from :func:`retina_plugin.build_model`.
        path: a ``.pth`` or ``.pkl`` file of this project, of Detectron2's model zoo or of
            torchvision's RetinaNet; see ``docs/weights.md``. It cannot run code.

    Returns:
        What the file says of itself, such as ``{"class_names": ["cat", "dog"]}``; empty when it
        says nothing.

    Raises:
        WeightsError: missing or broken file, parameters that do not match ``model`` name for name
            and shape for shape, or that are NaN or infinite.
    """
    checkpoint = read_checkpoint(path)
    match_parameters(model, checkpoint, path).load_into(model)
    return metadata_of(checkpoint)


def load_initial_weights(
    model: nn.Module, path: str, *, fine_tune: bool, class_names: Sequence[str] = ()
) -> CheckpointMatch:
    """Load what training starts from: a whole detector, or a backbone such as ImageNet's, with
    everything else fresh.

    Args:
        model: from :func:`retina_plugin.build_model`.
        path: as in :func:`load_weights`, or a backbone of Caffe2, torchvision or timm.
        fine_tune: the class scores stay fresh when their number differs, instead of an error.
        class_names: of the training; see :func:`warn_if_classes_differ`.

    Returns:
        What was taken over and what was not; as text, a report for people.

    Raises:
        WeightsError: as in :func:`load_weights`; also a backbone that does not match in full.
    """
    checkpoint = read_checkpoint(path)
    found = match_for_training(model, checkpoint, path, fine_tune=fine_tune)
    warn_if_classes_differ(metadata_of(checkpoint), class_names, path)
    found.load_into(model)
    return found


def match_parameters(model: nn.Module, checkpoint: Mapping[str, Any], path: str) -> CheckpointMatch:
    """Make sure that every parameter of ``model`` is in a checkpoint, and no other.

    Args:
        model: from :func:`retina_plugin.build_model`.
        checkpoint: from :func:`read_checkpoint`.
        path: of the file, for messages.

    Raises:
        WeightsError: any difference but the optional buffers; the message shows it and says what it
            hints at. Also numbers that are none.
    """
    found = _compare(model, checkpoint, path)
    if found.mismatches:
        raise WeightsError(describe_mismatch(found))
    return found


def match_for_training(
    model: nn.Module, checkpoint: Mapping[str, Any], path: str, *, fine_tune: bool
) -> CheckpointMatch:
    """Compare a checkpoint from which training starts with ``model``; see
    :func:`load_initial_weights`.

    Raises:
        WeightsError: a detector that does not match in full, or a backbone alone that does not.
    """
    found = _compare(model, checkpoint, path)
    part = "" if found.detector else found.backbone
    mismatches = [name for name in found.mismatches if name.startswith(part)]
    only_classes = all(
        name.startswith("head.cls_score.") and name in found.shape_mismatches for name in mismatches
    )
    if mismatches and not (fine_tune and only_classes):
        raise WeightsError(describe_mismatch(found, only=part))
    return found


def _compare(model: nn.Module, checkpoint: Mapping[str, Any], path: str) -> CheckpointMatch:
    """Compare what :func:`read_checkpoint` has read with ``model``, and warn where the model gets
    other pixels than the weights know."""
    own, anchors = model.state_dict(), getattr(model, "anchor_generator", None)
    author = checkpoint.get("__author__")
    checkpoint_format = detect_format(
        checkpoint["model"],
        author if isinstance(author, str) else "",
        own=own,
        anchors=anchors if isinstance(anchors, AnchorGenerator) else None,
    )
    found = compare_parameters(model, checkpoint_format, path)
    broken = [name for name in found.matched if not found.state[name].float().isfinite().all()]
    if broken:
        raise WeightsError(
            f"{path} is of no use: {len(broken)} of its parameters have numbers that are NaN or "
            f"infinite: {', '.join(broken[:3])}. Take an "
            "earlier checkpoint."
        )
    inputs = checkpoint_format.inputs or (None if found.detector else _inputs_of_origin(model))
    unlike = _unlike(model, inputs) if inputs else []
    if unlike:
        warnings.warn(
            f"{path} ({checkpoint_format.title}) was trained with "
            f"{', '.join(unlike)}. Set these keys: the weights know no other images.",
            stacklevel=4,
        )
    return found


def _inputs_of_origin(model: nn.Module) -> TrainingInputs | None:
    """What files for a backbone of another library were trained on, as far as that library says."""
    origin = weight_source_of(model)
    return (
        TrainingInputs("RGB", origin.pixel_mean, origin.pixel_std)
        if origin and origin.pixel_mean
        else None
    )


def warn_if_classes_differ(
    metadata: Mapping[str, Any], class_names: Sequence[str], path: str
) -> None:
    """Say so where a file has as many classes as a run but other names for them: its scores will
    stand for the run's.

    Args:
        metadata: what the file says of itself.
        class_names: of the run.
        path: of the file.
    """
    theirs = metadata.get("class_names")
    if not isinstance(theirs, list) or not all(isinstance(name, str) for name in theirs):
        return
    pairs = [pair for pair in zip(theirs, class_names, strict=False) if pair[0] != pair[1]]
    if pairs and len(theirs) == len(class_names):
        there, here = (
            ", ".join([*names[:3], "..."][: len(names)]) for names in zip(*pairs, strict=True)
        )
        warnings.warn(f"{path} knows other classes: {there}, which are {here} here", stacklevel=2)


def metadata_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a file from :func:`read_checkpoint` says of itself; empty when it says nothing."""
    found = checkpoint.get("metadata")
    return dict(found) if isinstance(found, Mapping) else {}


def class_names_of(metadata: Mapping[str, Any], path: str) -> list[str]:
    """Names of the classes in the metadata of a file; empty when it has none.

    Args:
        metadata: from :func:`metadata_of`.
        path: of the file, for messages.

    Raises:
        WeightsError: something else than a list of texts is in their place.
    """
    names = metadata.get("class_names")
    if names is None:
        return []
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise WeightsError(
            f"{path}: expected a list of texts as class_names in its metadata, found {names!r:.100}"
        )
    return list(names)


def _unlike(model: nn.Module, inputs: TrainingInputs) -> list[str]:
    """Config keys whose values are not those of the training of a file, with the values that they
    had there."""
    stride = None  # of a bottleneck's first convolution where a stage halves the resolution
    for name, module in model.named_modules():
        if (
            name.endswith("res3.0.conv1")
            and isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
        ):
            stride = module.stride == (2, 2)
    pairs = {
        "INPUT.FORMAT": (inputs.input_format, model.input_format),
        "MODEL.PIXEL_MEAN": (inputs.pixel_mean, _numbers(model.pixel_mean)),
        "MODEL.PIXEL_STD": (inputs.pixel_std, _numbers(model.pixel_std)),
        "MODEL.RESNETS.STRIDE_IN_1X1": (inputs.stride_in_1x1, stride),
    }
    known = {key: pair for key, pair in pairs.items() if None not in pair}
    return [
        f"{key} {theirs} (here {ours})" for key, (theirs, ours) in known.items() if theirs != ours
    ]


def _numbers(buffer: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in buffer.flatten().tolist())


def checkpoint_metadata(
    class_names: Sequence[str],
    model: nn.Module,
    pixel_range: Sequence[float] | None = None,
    training_data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Returns:
        "class_names"; "class_alpha" if classes were weighted one by one; "pixel_range" [low, high]
        if its images needed one; "training_data", see :mod:`retina_plugin.data.fingerprint`, if it
        is known.
    """
    model = getattr(model, "module", model)  # what distributed training wraps
    metadata: dict[str, Any] = {"class_names": list(class_names)}
    alpha = getattr(model, "class_alpha", None)
    if alpha is not None:
        metadata["class_alpha"] = alpha.tolist()
    if pixel_range is not None:
        metadata["pixel_range"] = list(pixel_range)
    if training_data is not None:
        metadata["training_data"] = dict(training_data)
    return metadata
