"""Detection in slices: geometry by hand, objects across the borders, and a model's detections."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from retina_plugin.config import ConfigError, check_rules
from retina_plugin.modeling.build_views import build_views
from retina_plugin.modeling.merging import concatenate, fuse, merge_greedily, suppress_together
from retina_plugin.modeling.structures import Detections, ImageLosses
from retina_plugin.modeling.suppressors import NMS, ClassAgnosticNMS
from retina_plugin.modeling.views import Slices, Versions, View, Views
from tests.models import compact_cfg, compact_model

pytestmark = pytest.mark.slow

SLICE = "MODEL__RETINA_PLUGIN__TEST__SLICE__"


def views_of(
    *, full_image: bool, batch: int = 8, min_sizes: tuple[int, ...] = (0,), flips: bool = False
) -> Views:
    """Slices of 100 pixels."""
    greedy = partial(merge_greedily, threshold=0.5, max_detections=100)
    average = partial(fuse, threshold=0.5, max_detections=100)
    both = (False, True) if flips else (False,)
    return Views(
        slices=Slices(size=100, overlap=0.2, full_image=full_image, merge=greedy),
        versions=Versions(min_sizes, 1000, tuple(itertools.product(both, both)), average),
        batch=batch,
        only_suppresses=False,
    )


def test_plan() -> None:
    """Slices of 100 pixels are resized to 50, and the image of 100 x 220 to 50 x 110."""
    plan = views_of(full_image=True, min_sizes=(50,)).plan(100, 220)
    assert plan == [
        [View((0, 0, 100, 100), (50, 50))],
        [View((0, 80, 100, 100), (50, 50))],
        [View((0, 120, 100, 100), (50, 50))],
        [View((0, 0, 100, 220), (50, 110), is_measured=False)],
    ]
    assert views_of(full_image=False).plan(100, 220) == [
        [view._replace(size=(100, 100))] for (view,) in plan[:3]
    ]


def test_versions() -> None:
    plan = views_of(full_image=True, min_sizes=(50, 80), flips=True).plan(60, 100)
    window = (0, 0, 60, 100)
    assert plan == [
        [
            View(window, size, mirrored, upside_down)
            for size in ((50, 83), (80, 133))
            for mirrored, upside_down in itertools.product((False, True), (False, True))
        ]
    ]


@pytest.mark.parametrize("full_image", [True, False])
def test_an_image_up_to_a_slice_is_one_view(full_image: bool) -> None:
    expected = [[View((0, 0, 100, 60), (100, 60))]]
    assert views_of(full_image=full_image).plan(100, 60) == expected


def test_to_image() -> None:
    """The view shows 100 x 200 pixels from (y 30, x 40) on at half of the size. The second box
    reaches beyond the view, and the third one has no area there."""
    view = View((30, 40, 100, 200), (50, 100))
    found = view.to_image(
        {
            "boxes": torch.tensor([[0.0, 5, 10, 15], [90, 40, 120, 60], [100, 0, 120, 9]]),
            "scores": torch.tensor([0.9, 0.8, 0.7]),
            "labels": torch.tensor([1, 0, 1]),
        }
    )
    assert_close(found["boxes"], torch.tensor([[40.0, 40, 60, 60], [220, 110, 240, 130]]))
    assert_close(found["scores"], torch.tensor([0.9, 0.8]))
    assert found["labels"].tolist() == [1, 0]


def test_from_image() -> None:
    """Objects of 10 x 10 pixels, of which the whole, 0.7 and 0.6 are inside the view, and which is
    clipped; and one outside."""
    view = View((100, 100, 50, 50), (100, 100))
    target = {
        "boxes": torch.tensor(
            [[110.0, 100, 120, 110], [97, 120, 107, 130], [96, 120, 106, 130], [0, 0, 9, 9]]
        ),
        "labels": torch.tensor([3, 2, 1, 0]),
    }
    found = view.from_image(target)
    assert_close(found["boxes"], torch.tensor([[20.0, 0, 40, 20], [0, 40, 14, 60]]))
    assert found["labels"].tolist() == [3, 2]


@pytest.mark.parametrize(
    ("mirrored", "upside_down", "box"),
    [
        (True, False, [70.0, 5, 90, 15]),
        (False, True, [10.0, 35, 30, 45]),
        (True, True, [70.0, 35, 90, 45]),
    ],
)
def test_flipped_views(mirrored: bool, upside_down: bool, box: list[float]) -> None:
    """A box in a view of 50 x 100 pixels, which shows 100 x 200 pixels of the image."""
    view = View((30, 40, 100, 200), (50, 100), mirrored, upside_down)
    target = {"boxes": torch.tensor([[60.0, 40, 100, 60]]), "labels": torch.tensor([1])}
    found = view.from_image(target)
    assert_close(found["boxes"], torch.tensor([box]))
    assert_close(view.to_image({**found, "scores": torch.ones(1)})["boxes"], target["boxes"])
    image = torch.arange(6.0).reshape(1, 2, 3)
    expected = image.flip(2) if mirrored else image
    assert_close(view.flip(image), expected.flip(1) if upside_down else expected)


class Squares:
    """Finds the boxes of pixels of equal value, by class and with equal scores; records batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: list[Tensor], views: list[View]) -> list[Detections]:
        self.batches.append(len(images))
        return [self._find(image[0]) for image in images]

    def _find(self, image: Tensor) -> Detections:
        labels = [int(v) for v in image.unique().tolist() if v > 0]
        boxes = []
        for label in labels:
            y, x = (image == label).nonzero(as_tuple=True)
            boxes.append([x.min().item(), y.min().item(), x.max().item() + 1, y.max().item() + 1])
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.full((len(boxes),), 0.9),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }


@pytest.mark.parametrize("full_image", [True, False])
@pytest.mark.parametrize(("batch", "batches"), [(8, [3]), (2, [2, 1]), (1, [1, 1, 1])])
def test_objects_across_borders(full_image: bool, batch: int, batches: list[int]) -> None:
    """Slices start at x = 0, 80 and 120. Object 1 lies in the first one, object 2 is cut at 100 and
    at 80, object 3 lies in two slices, object 4 is the last pixels."""
    image, boxes = torch.zeros(3, 100, 220), [
        [0, 0, 20, 30], [70, 40, 110, 60], [130, 10, 150, 40], [218, 98, 220, 100],
    ]  # fmt: skip
    for label, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        image[:, y0:y1, x0:x1] = label

    detect = Squares()
    views = views_of(full_image=full_image, batch=batch)
    found = views.detect((100, 220), partial(cut, image), detect)
    order = found["labels"].argsort()
    assert found["labels"][order].tolist() == [1, 2, 3, 4]
    assert_close(found["boxes"][order], torch.tensor(boxes).float())
    assert detect.batches == batches + [1] * full_image

    flipped = views_of(full_image=full_image, flips=True)
    again = flipped.detect((100, 220), partial(cut, image), Squares())
    assert_close(
        {name: x[again["labels"].argsort()] for name, x in again.items()},
        {name: x[order] for name, x in found.items()},
    )


def cut(image: Tensor, view: View) -> Tensor:
    """Cut a view that is not resized."""
    top, left, height, width = view.window
    return view.flip(image[:, top : top + height, left : left + width])


def images() -> list[Tensor]:
    return [torch.rand(3, *size) * 255 for size in ((96, 160), (64, 64), (40, 100))]


CHANGES = {"MODEL__RETINANET__SCORE_THRESH_TEST": 0.005, "TEST__DETECTIONS_PER_IMAGE": 30}


def randomise(model: nn.Module) -> None:
    """Give the model scores that differ, so that detections depend on the image."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize("per_batch", [1, 3, 100])
def test_predict_in_slices(per_batch: int) -> None:
    """The same as detecting in each slice alone; an image up to a slice as without slices."""
    sliced = compact_model(
        **CHANGES,
        **{
            f"{SLICE}SIZE": 64,
            f"{SLICE}MERGE": "greedy",
            "MODEL__RETINA_PLUGIN__TEST__VIEWS_PER_BATCH": per_batch,
        },
    )
    randomise(sliced)
    plain = compact_model(**CHANGES)
    plain.load_state_dict(sliced.state_dict())
    wide, small, low = images()
    found = sliced.predict([wide, small, low])
    assert_close(found[1], plain.predict([small])[0])
    corners = [(top, left) for top in (0, 32) for left in (0, 52, 96)]
    parts = plain.predict([wide[:, y : y + 64, x : x + 64] for y, x in corners] + [wide])
    for part, (y, x) in zip(parts, corners, strict=False):
        part["boxes"] = part["boxes"] + torch.tensor([x, y, x, y])
    expected = merge_greedily(parts, threshold=0.5, max_detections=30)
    assert 0 < len(expected["scores"]) <= 30
    assert_close(found[0], expected, rtol=1e-4, atol=1e-3)
    assert (found[2]["boxes"] <= torch.tensor([100, 40, 100, 40])).all()


@pytest.mark.parametrize(
    ("merge", "threshold", "function"),
    [
        ("auto", 0.05, suppress_together),
        ("auto", 0.1, merge_greedily),
        ("greedy", 0.05, merge_greedily),
        ("suppressor", 0.1, suppress_together),
    ],
)
def test_choice_of_the_merge(merge: str, threshold: float, function: Any) -> None:
    changes = {f"{SLICE}SIZE": 64, f"{SLICE}MERGE": merge}
    cfg = compact_cfg(MODEL__RETINANET__SCORE_THRESH_TEST=threshold, **changes)
    views = build_views(cfg, NMS(threshold=0.5))
    assert views.slices.merge.func is function


@pytest.mark.parametrize("suppressor", [NMS(threshold=0.5), ClassAgnosticNMS(threshold=0.5)])
def test_a_suppressor_across_classes_merges_across_classes(suppressor: Any) -> None:
    """One box of two classes, found in two views: greedily and by box fusion."""
    cfg = compact_cfg(
        **{f"{SLICE}SIZE": 64, f"{SLICE}MERGE": "greedy", "TEST__AUG__ENABLED": True},
        MODEL__RETINA_PLUGIN__TEST__AUG__MERGE="wbf",
    )
    views = build_views(cfg, suppressor)
    parts = [
        {"boxes": torch.tensor([box]), "scores": torch.tensor([score]), "labels": torch.tensor([k])}
        for box, score, k in (([0.0, 0, 10, 10], 0.9, 1), ([1.0, 0, 11, 10], 0.8, 0))
    ]
    number = 1 if isinstance(suppressor, ClassAgnosticNMS) else 2
    for merge in (views.slices.merge, views.versions.merge):
        assert merge(parts)["labels"].tolist() == [1, 0][:number]
    merged = views.slices.merge(parts)["boxes"][0].tolist()
    assert merged == ([0, 0, 11, 10] if number == 1 else [0, 0, 10, 10])


def test_merged_by_the_suppressor() -> None:
    """There is no overlap, no full image and no suppression, so all detections of the slices are
    returned."""
    changes = {**CHANGES, "TEST__DETECTIONS_PER_IMAGE": 1000}
    model = compact_model(
        **changes,
        **{
            f"{SLICE}SIZE": 80,
            f"{SLICE}OVERLAP": 0.0,
            f"{SLICE}FULL_IMAGE": False,
            f"{SLICE}MERGE": "suppressor",
            "MODEL__RETINANET__NMS_THRESH_TEST": 1.0,
        },
    )
    randomise(model)
    plain = compact_model(**changes, MODEL__RETINANET__NMS_THRESH_TEST=1.0)
    plain.load_state_dict(model.state_dict())
    image = images()[0][:, :80]
    parts = plain.predict([image[..., :80], image[..., 80:]])
    expected = torch.cat([part["scores"] for part in parts]).sort(descending=True).values[:1000]
    assert_close(model.predict([image])[0]["scores"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("merge", ["suppressor", "wbf"])
def test_predict_with_augmentation(merge: str) -> None:
    """Two sizes, and their mirror images."""
    changes = {**CHANGES, "MODEL__RETINA_PLUGIN__TEST__AUG__MERGE": merge}
    aug = {"TEST__AUG__ENABLED": True, "TEST__AUG__MIN_SIZES": [64, 96], "TEST__AUG__MAX_SIZE": 128}
    model = compact_model(**changes, **aug)
    randomise(model)
    image, parts = images()[0], []
    for size, flipped in itertools.product((64, 96), (False, True)):
        plain = compact_model(**changes, INPUT__MIN_SIZE_TEST=size, INPUT__MAX_SIZE_TEST=128)
        plain.load_state_dict(model.state_dict())
        (found,) = plain.predict([image.flip(2) if flipped else image])
        if flipped:
            x0, y0, x1, y1 = found["boxes"].unbind(1)
            found["boxes"] = torch.stack([160 - x1, y0, 160 - x0, y1], dim=1)
        parts.append(found)
    if merge == "wbf":
        expected = fuse(parts, threshold=0.55, max_detections=30)
    else:
        expected = NMS(threshold=0.5)([concatenate(parts)], max_detections=30)[0]
    assert len(expected["scores"]) == 30
    (found,) = model.predict([image])
    assert_close(found["scores"], expected["scores"], rtol=1e-3, atol=1e-4)
    close = (found["boxes"] - expected["boxes"]).abs().amax(dim=1) < 0.1
    assert close.float().mean() > 0.8  # boxes of nearly equal scores can be exchanged


def test_losses_of_parts() -> None:
    parts = [ImageLosses({"a": 1.0, "b": 2.0}, 3), ImageLosses({"a": 0.5, "b": 0.0}, 0)]
    assert ImageLosses.sum(parts) == ImageLosses({"a": 1.5, "b": 2.0}, 3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SIZE", 4, "expected 0, or from 8 to 100000, found 4"),
        ("SIZE", -1, "expected 0, or from 8 to 100000, found -1"),
        ("OVERLAP", 1.0, "expected from 0 to 0.9, found 1.0"),
        ("OVERLAP", -0.1, "expected from 0 to 0.9, found -0.1"),
        ("MERGE", "nms", "expected auto, greedy or suppressor, found 'nms'"),
        ("MERGE_THRESHOLD", 0.0, "expected above 0 and at most 1, found 0.0"),
    ],
)
def test_values_out_of_range(key: str, value: object, message: str) -> None:
    cfg = compact_cfg(**{f"{SLICE}{key}": value})
    with pytest.raises(ConfigError, match=rf"TEST.SLICE.{key}: {message}"):
        check_rules(cfg)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MIN_SIZES": []}, "MIN_SIZES: expected sizes in pixels from 8 to 100000"),
        ({"MIN_SIZES": [0]}, r"MIN_SIZES: expected sizes in pixels .*, found \[0\]"),
        ({"MIN_SIZES": [400, 400]}, "MIN_SIZES: expected .* all different"),
        (
            {"MIN_SIZES": [400, 600], "MAX_SIZE": 500},
            r"MIN_SIZES: expected sizes of at most TEST.AUG.MAX_SIZE 500.*, found \[400, 600\]",
        ),
        ({"MAX_SIZE": 0}, "MAX_SIZE: expected from 8 to 100000, found 0"),
    ],
)
def test_sizes_of_augmentation_out_of_range(changes: dict[str, object], message: str) -> None:
    cfg = compact_cfg(TEST__AUG__ENABLED=True)
    cfg.TEST.AUG.update(changes)
    with pytest.raises(ConfigError, match=rf"TEST.AUG.{message}"):
        check_rules(cfg)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{SLICE}SIZE": 512}, "TEST.SLICE.SIZE for RetinaNet: expected 0, because only Focal"),
        ({"TEST__AUG__ENABLED": True}, "TEST.AUG.ENABLED for RetinaNet: expected False, because"),
    ],
)
def test_other_architectures_have_one_view(changes: dict[str, object], message: str) -> None:
    cfg = compact_cfg(MODEL__META_ARCHITECTURE="RetinaNet", **changes)
    with pytest.raises(ConfigError, match=message):
        check_rules(cfg)


def test_tracing_is_refused() -> None:
    model = compact_model(**{f"{SLICE}SIZE": 32})

    class Predict(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return model.predict([image])[0]["boxes"]

    with pytest.raises(RuntimeError, match=r"cannot record predict.*Set .*SLICE.SIZE 0"):
        torch.jit.trace(Predict(), torch.rand(3, 64, 64) * 255, check_trace=False)
