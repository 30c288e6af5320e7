"""Compare a checkpoint's parameters with a model's by name and shape."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from retina_plugin.checkpoint.formats import CheckpointFormat
from retina_plugin.checkpoint.torchvision_names import BOTTOM_UP, State
from retina_plugin.modeling.backbones.feature import Backbone, WeightSource

# Buffers that the file or the model may lack. Detectron2's RetinaNet lacks the first; frozen and
# converted batch norms lack the second.
OPTIONAL = ("loss_normalizer", "num_batches_tracked")
# Parameters in a file that no detector here uses: constants that older Detectron2 versions save,
# and the classifier and the stem's bias of ImageNet backbones.
UNUSED = re.compile(r"^(pixel_mean|pixel_std)$|^anchor_generator\.|(^|\.)stem\.(fc\.|conv1\.bias$)")


Shape = tuple[int, ...]


@dataclass
class CheckpointMatch:
    """The result of comparing a checkpoint with a model.

    Attributes:
        path: the file.
        title: name of the file's format, for messages.
        state: the file's parameters, renamed to the model's names where possible.
        backbone: prefix of the names of the backbone's parameters, without the neck.
        detector: whether the file has a backbone and a head; False if it has only a backbone.
        matched: names with the same shape in the file and the model.
        missing: names that only the model has.
        unexpected: names that only the file has and that show that the architectures differ.
        unused: names that only the file has and that a detector does not need, such as those of
            an ImageNet classifier.
        shape_mismatches: name -> (shape in the file, shape in the model).
    """

    path: str
    title: str
    state: State
    backbone: str
    detector: bool
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    shape_mismatches: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)

    @property
    def mismatches(self) -> list[str]:
        """Names that are missing, unexpected or of another shape."""
        return [*self.missing, *self.unexpected, *self.shape_mismatches]

    def load_into(self, model: nn.Module) -> None:
        """Load the parameters in ``matched`` into ``model``."""
        model.load_state_dict({name: self.state[name] for name in self.matched}, strict=False)

    def __str__(self) -> str:
        """Return a report: how many parameters are taken over, which modules of the model keep
        their initial values, and which modules of the file are not used."""
        total = len(self.matched) + len(self.missing) + len(self.shape_mismatches)
        lines = [
            f"{os.path.basename(self.path)} ({self.title}): {len(self.matched)} of {total} "
            "parameters are taken over"
        ]
        for title, names in (
            ("fresh", [*self.missing, *self.shape_mismatches]),
            ("not used", [*self.unused, *self.unexpected]),
        ):
            if names:
                lines.append(f"  {title} ({len(names)}): {_format_modules(names)}")
        return "\n".join(lines)


def compare_parameters(
    model: nn.Module, checkpoint_format: CheckpointFormat, path: str
) -> CheckpointMatch:
    """Compare a file's parameters with those of ``model`` by name and shape, without loading them.

    Args:
        model: from :func:`retina_plugin.build_model`.
        checkpoint_format: the file's parameters.
        path: the file, for messages.
    """
    model_state = model.state_dict()
    backbone = BOTTOM_UP if any(name.startswith(BOTTOM_UP) for name in model_state) else "backbone."
    detector = all(
        any(name.startswith(part) for name in checkpoint_format.state)
        for part in ("backbone.", "head.")
    )
    source = None if detector else weight_source_of(model)
    state = _rename_backbone(checkpoint_format.state, model_state, backbone, source)
    found = CheckpointMatch(path, checkpoint_format.title, state, backbone, detector)
    for name, value in model_state.items():
        if name in state and state[name].shape != value.shape:
            found.shape_mismatches[name] = tuple(state[name].shape), tuple(value.shape)
        elif name in state:
            found.matched.append(name)
        elif not name.endswith(OPTIONAL):
            found.missing.append(name)
    for name in sorted(state.keys() - model_state.keys()):
        if not name.endswith(OPTIONAL):
            unexpected = _is_unexpected(found, name, model_state, source)
            (found.unexpected if unexpected else found.unused).append(name)
    return found


def weight_source_of(model: nn.Module) -> WeightSource | None:
    """Return the other library's model of which the backbone of ``model`` is a part, or None."""
    sources = (module.weight_source() for module in model.modules() if isinstance(module, Backbone))
    return next(filter(None, sources), None)


def _rename_backbone(
    state: State, model_state: State, backbone: str, source: WeightSource | None
) -> State:
    """Rename the parameters of a file that has only a backbone to the model's names.

    timm's names for a feature extractor differ from those for a classifier: ``stages_0.x`` or
    ``model.stages.0.x`` for ``stages.0.x``. They are compared by :func:`_normalize`.

    A name that the model lacks gets the prefix ``backbone`` if it belongs to a backbone: a stage of
    a ResNet, or a name that timm's classifier also lacks. Such a name is a mismatch, see
    :func:`_is_unexpected`.
    """
    known = {
        _normalize(name.removeprefix(backbone)): name
        for name in model_state
        if name.startswith(backbone)
    }
    source_names = {_normalize(name) for name in source.shapes} if source else set()
    resnet = source is None and any(key.startswith("stem.") for key in known)
    renamed = {}
    for name, value in state.items():
        in_backbone = (resnet and re.match(r"(stem|res\d)\.", name)) or (
            source and _normalize(name) not in source_names
        )
        if name not in model_state:
            name = known.get(_normalize(name), f"{backbone}{name}" if in_backbone else name)
        renamed[name] = value
    return renamed


def _normalize(name: str) -> str:
    return name.removeprefix("model.").replace("_", ".")


def _is_unexpected(
    found: CheckpointMatch, name: str, model_state: State, source: WeightSource | None
) -> bool:
    """Return whether a name that only the file has shows that the architectures differ.

    In a detector's file, every such name does. In a ResNet's file, names in the stages that the
    model also has do; in a timm backbone's file, names that timm's classifier lacks.
    """
    if UNUSED.search(name):
        return False
    if source:
        return name.startswith(found.backbone)
    stage = re.match(rf"{re.escape(found.backbone)}(stem|res\d)\.", name)
    return found.detector or (
        stage is not None and any(key.startswith(stage[0]) for key in model_state)
    )


def _format_modules(names: Iterable[str], limit: int = 12) -> str:
    """List the modules that some parameters belong to, at most ``limit`` of them."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(modules[:limit]) + (
        f", ... ({len(modules)} modules)" if len(modules) > limit else ""
    )
