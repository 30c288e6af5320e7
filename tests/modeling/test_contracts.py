"""Parts whose results violate their interface: the error names the part, what was expected and what
was found."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.registry import REGISTRIES, Registry
from retina_plugin.losses import BOX_LOSSES
from retina_plugin.modeling import contracts
from retina_plugin.modeling.box_coders import BOX_CODERS
from retina_plugin.modeling.contracts import PartError
from retina_plugin.modeling.heads import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.retinanet import RetinaNet
from tests.models import compact_model

R = 2 * 3 * (16 + 4 + 1 + 1 + 1)  # anchors of 32 x 32 pixels, two sizes and three shapes
TARGETS = [
    {"boxes": torch.tensor([[2.0, 2, 20, 20], [8, 8, 30, 30]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


class Changed(nn.Module):
    """A part that changes the result of the part that it wraps."""

    def __init__(self, part: Any, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.part, self.change = part, change
        self.num_classes, self.dim, self.compares = 3, 4, getattr(part, "compares", None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.change(self.part(*args, **kwargs))

    def encode(self, *args: Any) -> Any:
        return self.change(self.part.encode(*args))

    def decode(self, *args: Any) -> Any:
        return self.change(self.part.decode(*args))


@pytest.fixture(scope="module")
def model() -> RetinaNet:
    return compact_model()


def change(monkeypatch: pytest.MonkeyPatch, model: RetinaNet, place: str, to: Callable) -> None:
    """Wrap the part at a dotted path in :class:`Changed`."""
    *way, name = place.split(".")
    owner = operator.attrgetter(".".join(way))(model) if way else model
    part = getattr(owner, name)
    # not setattr: nn.Module would register the wrapper as a submodule, and undoing it would fail
    holder = owner._modules if isinstance(part, nn.Module) else owner.__dict__
    monkeypatch.setitem(holder, name, Changed(part, to))


def losses(model: RetinaNet) -> dict[str, Tensor]:
    return model(torch.zeros(2, 3, 32, 32), [(32, 32)] * 2, TARGETS)


def put(index: int) -> Callable[[Any], Any]:
    """Set the first match of the first image to ``index``."""

    def changed(assignment: Any) -> Any:
        matches = assignment.matches.clone()
        matches[0, 0] = index
        return assignment._replace(matches=matches)

    return changed


def replaced(**changes: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda found: found._replace(**{k: c(getattr(found, k)) for k, c in changes.items()})


def wide(x: Tensor) -> Tensor:
    return torch.cat([x, x[..., :1]], dim=-1)


@pytest.mark.parametrize(
    ("place", "kind", "to", "words"),
    [
        ("head", "head", lambda x: None, "expected Predictions, found NoneType"),
        ("head", "head", tuple, "expected Predictions, found tuple of 3"),
        (
            "head",
            "head",
            replaced(logits=wide),
            f"logits (N, R, K) = (2, {R}, 3) floating point, found (2, {R}, 4) float32",
        ),
        ("head", "head", replaced(logits=lambda x: x[:1]), f"found (1, {R}, 3) float32"),
        ("head", "head", replaced(logits=lambda x: x[:, 1:]), f"found (2, {R - 1}, 3) float32"),
        ("head", "head", replaced(logits=lambda x: x.long()), f"found (2, {R}, 3) int64"),
        ("head", "head", replaced(deltas=wide), f"deltas (N, R, D) = (2, {R}, 4) floating"),
        (
            "head",
            "head",
            replaced(deltas=lambda x: None),
            f"= (2, {R}, 4) floating point, found No",
        ),
        (
            "head",
            "head",
            replaced(quality=lambda _: torch.zeros(2, 1)),
            f"quality (N, R) = (2, {R})",
        ),
        ("assigner", "assigner", lambda x: None, "expected an Assignment, found NoneType"),
        ("assigner", "assigner", lambda x: x.matches, f"an Assignment, found (2, {R}) int64"),
        (
            "assigner",
            "assigner",
            replaced(matches=lambda x: x.int()),
            f"matches (N, R) = (2, {R}) int64, found (2, {R}) int32",
        ),
        ("assigner", "assigner", replaced(matches=lambda x: x[0]), f"found ({R},) int64"),
        (
            "assigner",
            "assigner",
            put(-3),
            "matches of image 0 of the batch from -2 to 1, as it has 2 boxes, found -3 to",
        ),
        ("assigner", "assigner", put(2), "from -2 to 1, as it has 2 boxes, found -"),
        (
            "assigner",
            "assigner",
            replaced(box_weights=lambda _: torch.ones(R)),
            f"box_weights (N, R) = (2, {R}) floating point, found ({R},) float32",
        ),
        ("criterion", "criterion", lambda x: None, "dict of names and losses, found NoneType"),
        ("criterion", "criterion", lambda x: {}, "a dict of names and losses, found dict with no"),
        (
            "criterion",
            "criterion",
            lambda x: {"loss_cls": torch.zeros(2)},
            "scalar loss_cls = () floating point, found (2,) float32",
        ),
        (
            "criterion",
            "criterion",
            lambda x: {"loss_cls": 1.0},
            "scalar loss_cls = () floating point, found float",
        ),
        (
            "criterion.class_loss",
            "class loss",
            lambda x: x[None],
            "the sum, a scalar = () floating point, found (1,) float32",
        ),
        (
            "criterion.box_loss",
            "box loss",
            lambda x: x.sum(),
            "expected one value per box (P,)",
        ),
        ("criterion.box_coder", "box coder", wide, "expected deltas (P, D)"),
    ],
)
def test_training(
    monkeypatch: pytest.MonkeyPatch,
    model: RetinaNet,
    place: str,
    kind: str,
    to: Callable,
    words: str,
) -> None:
    assert losses(model).keys() == {"loss_cls", "loss_box_reg"}
    change(monkeypatch, model, place, to)
    start = f"{contracts.KEYS[kind]}: {kind} {Changed.__module__}.Changed: "
    with pytest.raises(PartError, match=f"^{re.escape(start)}.*{re.escape(words)}"):
        losses(model)


def repeated(number: int) -> Callable[[Any], Any]:
    """Return a function that repeats the first detection of the first image ``number`` times."""
    return lambda found: [
        {name: x[:1].repeat_interleave(number, 0) for name, x in found[0].items()}
    ]


@pytest.mark.parametrize(
    ("place", "kind", "to", "words"),
    [
        ("postprocessor.suppressor", "suppressor", lambda x: None, "detections of 1 images, found"),
        ("postprocessor.suppressor", "suppressor", lambda x: [], "of 1 images, found list of 0"),
        ("postprocessor.suppressor", "suppressor", repeated(101), "100 detections of an image at"),
        (
            "postprocessor.suppressor",
            "suppressor",
            lambda x: [{"boxes": x[0]["boxes"], "scores": x[0]["scores"]}],
            "a dict with boxes, scores and labels, found dict with boxes, scores",
        ),
        (
            "postprocessor.suppressor",
            "suppressor",
            lambda x: [{**x[0], "labels": torch.zeros(3, dtype=torch.int64)}],
            "labels (M,)",
        ),
        ("postprocessor.box_coder", "box coder", wide, "expected boxes (M, 4)"),
    ],
)
def test_detection(
    monkeypatch: pytest.MonkeyPatch,
    model: RetinaNet,
    place: str,
    kind: str,
    to: Callable,
    words: str,
) -> None:
    monkeypatch.setattr(model.postprocessor, "score_threshold", 0.0)
    image = [torch.zeros(3, 32, 32, dtype=torch.uint8)]
    assert len(model.predict(image)[0]["scores"]) > 0
    change(monkeypatch, model, place, to)
    with pytest.raises(PartError, match=f"^{contracts.KEYS[kind]}: .*{re.escape(words)}"):
        model.predict(image)


def test_no_detections_are_valid(monkeypatch: pytest.MonkeyPatch, model: RetinaNet) -> None:
    monkeypatch.setattr(model.postprocessor, "score_threshold", 0.999999)
    assert len(model.predict([torch.zeros(3, 32, 32, dtype=torch.uint8)])[0]["scores"]) == 0
    found = model(torch.zeros(1, 3, 32, 32), [(32, 32)], TARGETS[1:])
    assert found["loss_box_reg"] == 0


class Silent:
    """A part without the attributes that describe it."""


@pytest.mark.parametrize(
    ("name", "allowed", "words"),
    [
        ("dim", (), "'dim', of what, to be a whole number above 0, found none"),
        ("compares", ("deltas", "boxes"), "'compares', .* 'deltas' or 'boxes', found none"),
        ("__module__", ("a",), "'__module__', of what, to be 'a', found '.*test_contracts'"),
    ],
)
def test_attributes_that_parts_must_have(name: str, allowed: tuple, words: str) -> None:
    with pytest.raises(
        ConfigError, match=f"HEAD.NAME: head .*Silent: expected the attribute {words}"
    ):
        contracts.require_attribute("head", Silent(), name, *allowed, meaning="of what")


@pytest.mark.parametrize(
    ("registry", "given", "words"),
    [
        (BOX_CODERS, Silent(), "BOX_CODER.NAME: box coder .*'dim'.* above 0, found none"),
        (BOX_LOSSES, Silent(), "BBOX_REG_LOSS_TYPE: box loss .*'compares'.*found none"),
        (RETINA_HEAD_REGISTRY, nn.Identity(), "HEAD.NAME: head .*'num_classes'.* 3, found none"),
    ],
)
def test_the_builder_checks_these_attributes(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, given: Any, words: str
) -> None:
    monkeypatch.setattr(registry, "build", lambda *args, **kwargs: given)
    with pytest.raises(PartError, match=words):
        compact_model()


def test_the_keys_are_those_of_the_registries() -> None:
    choices = {registry.kind: registry.choice_key for registry in REGISTRIES}
    assert {kind: choices[kind] for kind in contracts.KEYS} == contracts.KEYS
