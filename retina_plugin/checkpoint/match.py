"""A checkpoint's parameters beside a model's: what matches by name and shape, what does not, what
that hints at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from retina_plugin.checkpoint.formats import CheckpointFormat
from retina_plugin.checkpoint.torchvision_names import BOTTOM_UP, State
from retina_plugin.modeling.backbones.feature import Backbone, WeightSource

# Buffers that a file may lack, or have without a use: Detectron2's own RetinaNet lacks the first,
# frozen and converted batch norms lack the second.
OPTIONAL = ("loss_normalizer", "num_batches_tracked")
# What files have beyond a detector: constants of older Detectron2s, and the classifier and the
# stem's bias of ImageNet's backbones.
UNUSED = re.compile(r"^(pixel_mean|pixel_std)$|^anchor_generator\.|(^|\.)stem\.(fc\.|conv1\.bias$)")


@dataclass
class CheckpointMatch:
    """Names of ``state`` are the model's wherever a parameter was recognised."""

    path: str
    title: str  # of the checkpoint_format
    state: State
    backbone: str  # prefix of the backbone's parameters without neck
    detector: bool  # whether the file has a head, not a backbone alone
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # in the model only
    # in the file only, and the model has nothing of the kind
    unexpected: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # in the file only, rightly
    # name -> (in the file, in the model)
    shape_mismatches: dict[str, tuple[tuple, tuple]] = field(default_factory=dict)

    @property
    def mismatches(self) -> list[str]:
        """Everything that a complete match would not have."""
        return [*self.missing, *self.unexpected, *self.shape_mismatches]

    def load_into(self, model: nn.Module) -> None:
        """Give ``model`` the parameters that match."""
        model.load_state_dict({name: self.state[name] for name in self.matched}, strict=False)

    def __str__(self) -> str:
        """Two to four lines for people: how much was taken over, what is fresh, what was not
        used."""
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
                lines.append(f"  {title} ({len(names)}): {_modules(names)}")
        return "\n".join(lines)


def compare_parameters(
    model: nn.Module, checkpoint_format: CheckpointFormat, path: str
) -> CheckpointMatch:
    """Compare a file with ``model``, name for name and shape for shape. Nothing is loaded."""
    own = model.state_dict()
    backbone = BOTTOM_UP if any(name.startswith(BOTTOM_UP) for name in own) else "backbone."
    detector = all(
        any(name.startswith(part) for name in checkpoint_format.state)
        for part in ("backbone.", "head.")
    )
    origin = None if detector else weight_source_of(model)
    state = _placed(checkpoint_format.state, own, backbone, origin)
    found = CheckpointMatch(path, checkpoint_format.title, state, backbone, detector)
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            found.shape_mismatches[name] = tuple(state[name].shape), tuple(value.shape)
        elif name in state:
            found.matched.append(name)
        elif not name.endswith(OPTIONAL):
            found.missing.append(name)
    for name in sorted(name for name in state.keys() - own.keys() if not name.endswith(OPTIONAL)):
        (found.unexpected if _misplaced(found, name, own, origin) else found.unused).append(name)
    return found


def weight_source_of(model: nn.Module) -> WeightSource | None:
    """Of which model of another library the backbone of ``model`` is a part."""
    origins = (module.weight_source() for module in model.modules() if isinstance(module, Backbone))
    return next(filter(None, origins), None)


def _placed(state: State, own: State, backbone: str, origin: WeightSource | None) -> State:
    """Names of a bare backbone below ``backbone``, also those that the model lacks and its backbone
    should have.

    timm calls ``stages.0.x`` ``stages_0.x`` where it returns maps, or puts "model." before it; the
    two are one here.
    """
    known = {_plain(name.removeprefix(backbone)): name for name in own if name.startswith(backbone)}
    whole = {_plain(name) for name in origin.names} if origin else set()
    resnet = origin is None and any(key.startswith("stem.") for key in known)
    placed = {}
    for name, value in state.items():
        inside = (resnet and re.match(r"(stem|res\d)\.", name)) or (
            origin and _plain(name) not in whole
        )
        placed[
            name
            if name in own
            else known.get(_plain(name), f"{backbone}{name}" if inside else name)
        ] = value
    return placed


def _plain(name: str) -> str:
    return name.removeprefix("model.").replace("_", ".")


def _misplaced(found: CheckpointMatch, name: str, own: State, origin: WeightSource | None) -> bool:
    """Whether a name that the model lacks tells of another architecture: anything in a detector,
    more of a stage in a backbone, or what the classifier that the backbone is a part of does not
    have either.
    """
    if UNUSED.search(name):
        return False
    if origin:
        return name.startswith(found.backbone)
    stage = re.match(rf"{re.escape(found.backbone)}(stem|res\d)\.", name)
    return found.detector or (stage is not None and any(key.startswith(stage[0]) for key in own))


def _modules(names: Iterable[str], limit: int = 12) -> str:
    """Modules instead of their parameters, the first few of them."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(modules[:limit]) + (
        f", ... ({len(modules)} modules)" if len(modules) > limit else ""
    )
