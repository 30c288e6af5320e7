"""Load a detector's weights into a model, or start training from a detector or a backbone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.formats import TrainingInputs, detect_format
from retina_plugin.checkpoint.match import CheckpointMatch, compare_parameters, weight_source_of
from retina_plugin.checkpoint.mismatch import describe_mismatch
from retina_plugin.checkpoint.read import read_checkpoint
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.backbones.timm import known_pixel_constants


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Load a detector's checkpoint into ``model``. Every parameter must match.

    Args:
        model: from :func:`retina_plugin.build_model`.
        path: a ``.pth`` or ``.pkl`` file of this project, of Detectron2's model zoo or of
            torchvision's RetinaNet; see ``docs/weights.md``. Code in the file is not run.

    Returns:
        The file's metadata, such as the list ``metadata["class_names"]``; empty if it has none.

    Raises:
        WeightsError: the file is missing or broken, its parameters do not match those of ``model``
            in name and shape, or some are NaN or infinite.
    """
    checkpoint = read_checkpoint(path)
    match_parameters(model, checkpoint, path).load_into(model)
    return metadata_of(checkpoint)


def load_initial_weights(
    model: nn.Module, path: str, *, fine_tune: bool, class_names: Sequence[str] = ()
) -> CheckpointMatch:
    """Load the weights from which training starts: a detector, or a backbone trained on ImageNet.
    Other parameters keep their initial values.

    Args:
        model: from :func:`retina_plugin.build_model`.
        path: as in :func:`load_weights`, or a backbone of Caffe2, torchvision or timm.
        fine_tune: if the number of classes differs, keep the model's initial class scores instead
            of raising an error.
        class_names: the classes to train; see :func:`warn_if_classes_differ`.

    Returns:
        The parameters that were loaded and those that were not. ``str()`` of the result is a
        report.

    Raises:
        WeightsError: as in :func:`load_weights`. If the file has only a backbone, all parameters of
            the model's backbone must match.
    """
    checkpoint = read_checkpoint(path)
    found = match_for_training(model, checkpoint, path, fine_tune=fine_tune)
    warn_if_classes_differ(metadata_of(checkpoint), class_names, path)
    found.load_into(model)
    return found


def match_parameters(model: nn.Module, checkpoint: Mapping[str, Any], path: str) -> CheckpointMatch:
    """Check that a checkpoint and ``model`` have the same parameters. Nothing is loaded.

    Args:
        model: from :func:`retina_plugin.build_model`.
        checkpoint: from :func:`read_checkpoint`.
        path: the file, for messages.

    Raises:
        WeightsError: names or shapes differ, apart from optional buffers, or some values are NaN or
            infinite. The message lists the differences and the config key that probably differs.
    """
    found = _compare(model, checkpoint, path)
    if found.mismatches:
        raise WeightsError(describe_mismatch(found))
    return found


def match_for_training(
    model: nn.Module, checkpoint: Mapping[str, Any], path: str, *, fine_tune: bool
) -> CheckpointMatch:
    """Check that training of ``model`` can start from a checkpoint. Nothing is loaded.

    The arguments and errors are those of :func:`match_parameters`, except that a file with only a
    backbone needs to match only the backbone. For ``fine_tune``, see :func:`load_initial_weights`.
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
    """Compare a checkpoint with ``model``, and warn if the config values in
    :class:`TrainingInputs` differ from those of the checkpoint's training."""
    anchors = getattr(model, "anchor_generator", None)
    author = checkpoint.get("__author__")
    checkpoint_format = detect_format(
        checkpoint["model"],
        author if isinstance(author, str) else "",
        path,
        source=weight_source_of(model),
        model_state=model.state_dict(),
        anchors=anchors if isinstance(anchors, AnchorGenerator) else None,
    )
    found = compare_parameters(model, checkpoint_format, path)
    broken = [name for name in found.matched if not found.state[name].float().isfinite().all()]
    if broken:
        raise WeightsError(
            f"{path} cannot be used: {len(broken)} of its parameters are NaN or infinite: "
            f"{', '.join(broken[:3])}. Use an earlier checkpoint."
        )
    inputs = checkpoint_format.inputs or _inputs_of_timm_weights(path)
    if inputs is None and not found.detector:
        inputs = _source_inputs(model)
    differences = _input_differences(model, inputs) if inputs else []
    if differences:
        warnings.warn(
            f"{path} ({checkpoint_format.title}) was trained with "
            f"{', '.join(differences)}. Set these keys, or the model gets other inputs than in "
            "the training of the weights.",
            stacklevel=4,
        )
    return found


def _inputs_of_timm_weights(path: str) -> TrainingInputs | None:
    """Return the pixel normalisation of ``timm://NAME``; None for other files, and if unknown.
    Different weights of one model can have different normalisations."""
    scheme, _, name = path.partition("://")
    pixels = known_pixel_constants(name) if scheme == "timm" else None
    return pixels and TrainingInputs("RGB", *pixels)


def _source_inputs(model: nn.Module) -> TrainingInputs | None:
    """Return the pixel normalisation that another library gives for the model's backbone; None if
    it gives none."""
    source = weight_source_of(model)
    if source is None or not source.pixel_mean:
        return None
    return TrainingInputs("RGB", source.pixel_mean, source.pixel_std)


def warn_if_classes_differ(
    metadata: Mapping[str, Any], class_names: Sequence[str], path: str
) -> None:
    """Warn if a file has as many classes as the run but other names for them. Its weights load
    without an error, but its scores are for other classes.

    Args:
        metadata: the file's metadata; without class names, there is no warning.
        class_names: the classes of the run.
        path: the file, for the message.
    """
    theirs = metadata.get("class_names")
    if not isinstance(theirs, list) or not all(isinstance(name, str) for name in theirs):
        return
    pairs = [pair for pair in zip(theirs, class_names, strict=False) if pair[0] != pair[1]]
    if pairs and len(theirs) == len(class_names):
        there, here = (
            ", ".join([*names[:3], "..."][: len(names)]) for names in zip(*pairs, strict=True)
        )
        warnings.warn(
            f"{path} was trained with other classes: {there} in the file, {here} in this run",
            stacklevel=2,
        )


def metadata_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file from :func:`read_checkpoint`; empty if it has none."""
    found = checkpoint.get("metadata")
    return dict(found) if isinstance(found, Mapping) else {}


def class_names_of(metadata: Mapping[str, Any], path: str) -> list[str]:
    """Return the class names in a file's metadata; empty if it has none.

    Args:
        metadata: from :func:`metadata_of`.
        path: the file, for messages.

    Raises:
        WeightsError: ``class_names`` is not a list of texts.
    """
    names = metadata.get("class_names")
    if names is None:
        return []
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise WeightsError(
            f"{path}: expected a list of texts as class_names in its metadata, found {names!r:.100}"
        )
    return list(names)


def _input_differences(model: nn.Module, inputs: TrainingInputs) -> list[str]:
    """List the config keys whose values differ from those of the file's training, with both
    values."""
    stride_in_1x1 = None  # stays None for backbones without bottleneck blocks
    for name, module in model.named_modules():
        if (
            name.endswith("res3.0.conv1")
            and isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
        ):
            stride_in_1x1 = module.stride == (2, 2)
    pixel_mean, pixel_std = model.pixel_mean, model.pixel_std
    assert isinstance(pixel_mean, Tensor)
    assert isinstance(pixel_std, Tensor)
    pairs: dict[str, tuple[Any, Any]] = {
        "INPUT.FORMAT": (inputs.input_format, model.input_format),
        "MODEL.PIXEL_MEAN": (inputs.pixel_mean, _rounded(pixel_mean)),
        "MODEL.PIXEL_STD": (inputs.pixel_std, _rounded(pixel_std)),
        "MODEL.RESNETS.STRIDE_IN_1X1": (inputs.stride_in_1x1, stride_in_1x1),
    }
    known = {key: pair for key, pair in pairs.items() if None not in pair}
    return [
        f"{key} {theirs} (here {ours})" for key, (theirs, ours) in known.items() if theirs != ours
    ]


def _rounded(buffer: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in buffer.flatten().tolist())


def checkpoint_metadata(
    class_names: Sequence[str],
    model: nn.Module,
    pixel_range: Sequence[float] | None = None,
    training_data: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metadata that is saved in a checkpoint.

    Args:
        class_names: one for each class.
        model: the trained model, or DistributedDataParallel around it.
        pixel_range: [low, high] values that become 0 and 255; None for 8-bit images.
        training_data: see :mod:`retina_plugin.data.fingerprint`; None if unknown.
        config: {key: value} of the run, so that the file can be used without its folder.

    Returns:
        "class_names", and where they apply "class_alpha" (a focal loss weight for each class),
        "pixel_range", "training_data" and "config".
    """
    model = getattr(model, "module", model)  # DistributedDataParallel wraps the model
    metadata: dict[str, Any] = {"class_names": list(class_names)}
    alpha = getattr(model, "class_alpha", None)
    if alpha is not None:
        metadata["class_alpha"] = alpha.tolist()
    if pixel_range is not None:
        metadata["pixel_range"] = list(pixel_range)
    if training_data is not None:
        metadata["training_data"] = dict(training_data)
    if config is not None:
        metadata["config"] = dict(config)
    return metadata
