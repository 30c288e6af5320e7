"""Optimizations of detection do not change results: folded norms, cached weights, one suppression
for a batch; lower precision is chosen by config."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.layers import winograd
from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.layers.derived_cache import DerivedTensorCache
from retina_plugin.layers.nms import batched_nms
from retina_plugin.layers.norms import Conv2d, FrozenBatchNorm2d, apply_to_levels, build_norm
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.suppressors import batched_suppression
from tests.models import compact_cfg, compact_model
from tests.parts import detect

NORMS = ["FrozenBN", "BN", "GN", ""]


def layer_with(norm: str, *, bias: bool = False) -> Conv2d:
    """A convolution with a norm whose statistics and parameters are neither 0 nor 1."""
    layer = Conv2d(4, 8, 3, norm=build_norm(norm, 8, groups=2, key="NORM"), bias=bias)
    for name, tensor in layer.state_dict().items():
        if name.startswith("norm") and tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    return layer.eval()


def unfolded(layer: Conv2d, x: torch.Tensor) -> torch.Tensor:
    y = layer._conv_forward(x, layer.weight, layer.bias)
    if isinstance(layer.norm, FrozenBatchNorm2d):  # the definition of the norm
        norm = layer.norm
        y = (y - norm.running_mean[:, None, None]) / (
            norm.running_var[:, None, None] + norm.eps
        ).sqrt()
        return y * norm.weight[:, None, None] + norm.bias[:, None, None]
    return y if layer.norm is None else layer.norm(y)


# ------------------------------------------------------------------------------------------ folding


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tiles", [1, 10**9], ids=["winograd", "direct"])
def test_folded_norms_give_the_same_result(
    norm: str, bias: bool, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_TILES", tiles)
    layer, x = layer_with(norm, bias=bias), torch.randn(2, 4, 9, 12)
    expected = unfolded(layer, x)
    with torch.no_grad():
        assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
        assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)  # from the cache
    assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_through_a_folded_norm(norm: str) -> None:
    layer, x = layer_with(norm), torch.randn(2, 4, 9, 12, requires_grad=True)
    leaves = [x, *layer.parameters()]
    direction = torch.randn(2, 8, 9, 12)
    ours = torch.autograd.grad(layer(x), leaves, direction)
    assert_close(
        ours, torch.autograd.grad(unfolded(layer, x), leaves, direction), rtol=1e-4, atol=1e-5
    )


def test_statistics_of_a_batch_are_not_folded() -> None:
    """In training mode and without running statistics, a batch norm depends on the batch."""
    layer, x = layer_with("BN").train(), torch.randn(2, 4, 9, 12)
    with torch.no_grad():
        assert_close(layer(x).mean(dim=(0, 2, 3)), layer.norm.bias)
        layer.norm = nn.BatchNorm2d(8, track_running_stats=False)
        assert_close(layer.eval()(x).mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)


def change_weight_in_place(layer: Conv2d) -> None:
    with torch.no_grad():
        layer.weight.mul_(2)


def change_statistics(layer: Conv2d) -> None:
    layer.norm.running_mean.add_(1)


def optimise(layer: Conv2d, **options: bool) -> None:
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, **options)
    layer(torch.randn(1, 4, 6, 6)).sum().backward()
    optimizer.step()


def optimise_fused(layer: Conv2d) -> None:
    optimise(layer, fused=True)


def optimise_all_at_once(layer: Conv2d) -> None:
    optimise(layer, foreach=True)


def average(layer: Conv2d) -> None:
    """Average the weights, as an exponential moving average does."""
    with torch.no_grad():
        torch._foreach_lerp_(list(layer.parameters()), list(layer_with("BN").parameters()), 0.5)


def load(layer: Conv2d) -> None:
    layer.load_state_dict(layer_with("BN").state_dict())


def assign(layer: Conv2d) -> None:
    layer.load_state_dict(layer_with("BN").state_dict(), assign=True)


def replace(layer: Conv2d) -> None:
    layer.weight = nn.Parameter(torch.randn_like(layer.weight))


def swap_data(layer: Conv2d) -> None:
    layer.weight.data = torch.randn_like(layer.weight)


def train_through_data(layer: Conv2d) -> None:
    layer.train()
    layer.weight.data.mul_(2)  # the version counter does not change
    layer.eval()


def change_in_inference_mode(layer: Conv2d) -> None:
    with torch.inference_mode():
        layer.weight.mul_(2)


def change_epsilon(layer: Conv2d) -> None:
    layer.norm.eps = 3.0


def look_before_the_step(layer: Conv2d) -> None:
    """Run a forward pass without gradients between ``backward`` and the step."""
    layer.train()
    layer.norm.eval()
    x, optimizer = (
        torch.randn(2, 4, 9, 12),
        torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True),
    )
    layer(x).sum().backward()
    with torch.no_grad():
        layer(x)
    optimizer.step()


CHANGES = [
    change_epsilon,
    look_before_the_step,
    change_weight_in_place,
    change_statistics,
    optimise,
    optimise_fused,
    optimise_all_at_once,
    average,
    load,
    assign,
    replace,
    swap_data,
    train_through_data,
    change_in_inference_mode,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("tiles", [1, 10**9], ids=["winograd", "direct"])
def test_a_change_of_weights_is_noticed(
    change, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_TILES", tiles)
    layer, x = layer_with("BN"), torch.randn(2, 4, 9, 12)
    with torch.no_grad():
        before = layer(x)
    change(layer)
    with torch.no_grad():
        after = layer(x)
        assert (after - before).abs().max() > 1e-2
        assert_close(after, unfolded(layer, x), rtol=1e-4, atol=1e-4)


def test_computed_weights_are_used() -> None:
    """Weights that are computed by a parametrization on each access, or by the older
    ``weight_norm`` in a hook."""
    x = torch.randn(2, 4, 9, 12)
    for normalise, magnitude in (
        (nn.utils.parametrizations.weight_norm, "parametrizations.weight.original0"),
        (nn.utils.weight_norm, "weight_g"),
    ):
        layer = normalise(layer_with(""))
        with torch.no_grad():
            before = apply_to_levels(layer, [x])[0]
            layer.get_parameter(magnitude).mul_(2)
            assert_close(apply_to_levels(layer, [x])[0], 2 * before)


def test_hooks_are_called() -> None:
    """Modules with hooks are called one by one, without folding or merging of levels."""
    layer, x, seen = layer_with("BN"), torch.randn(2, 4, 9, 12), []
    with torch.no_grad():
        expected = apply_to_levels(layer, [x, x])
        for module in (layer, layer.norm):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
        assert_close(apply_to_levels(layer, [x, x]), expected, rtol=1e-5, atol=1e-5)
    assert_close(seen, [y for y in expected for _ in range(2)], rtol=1e-5, atol=1e-5)


def test_another_dtype_is_noticed() -> None:
    layer, x = layer_with("BN"), torch.randn(2, 4, 9, 12)
    with torch.no_grad():
        layer(x)
        assert layer.double()(x.double()).dtype == torch.float64


def test_memo_computes_once_and_forgets() -> None:
    cache, source, calls = DerivedTensorCache(), torch.zeros(1), []
    for _ in range(3):
        cache.get([source], lambda: calls.append(1))
    assert len(calls) == 1
    cache.clear()
    cache.get([source], lambda: calls.append(1))
    assert len(calls) == 2
    cache.get([source], lambda: calls.append(1), setting=1e-3)
    assert len(calls) == 3
    with torch.inference_mode():
        uncounted = torch.zeros(1)
    for _ in range(2):  # changes of such a tensor cannot be noticed
        cache.get([uncounted], lambda: calls.append(1))
    assert len(calls) == 5


def test_copies_and_pickles_do_not_contain_the_cache() -> None:
    layer, x = layer_with("BN"), torch.randn(2, 4, 9, 12)
    size = len(pickle.dumps(layer))
    with torch.no_grad():
        expected = layer(x)
        assert len(pickle.dumps(layer)) == size
        assert_close(copy.deepcopy(layer)(x), expected)
        assert_close(pickle.loads(pickle.dumps(layer))(x), expected)


# ---------------------------------------------------------------------------------------- the model


def scattered(model: RetinaNet) -> RetinaNet:
    """A model whose scores and boxes vary; a new head predicts 0.01 everywhere."""
    for name, weight in model.head.named_parameters():
        if name.endswith("weight") and weight.dim() == 4:
            nn.init.normal_(weight, std=0.1)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_training_after_evaluation(norm: str) -> None:
    """State, losses and steps equal those of a model that never evaluated; a later evaluation uses
    the trained weights."""
    evaluated, plain = (
        compact_model(MODEL__RESNETS__NORM=norm, MODEL__FPN__NORM=norm) for _ in range(2)
    )
    plain.load_state_dict(evaluated.state_dict())
    image = torch.randint(0, 256, (3, 64, 96)).float()
    target = {"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([1])}
    before = evaluated.predict([image])
    assert evaluated.state_dict().keys() == plain.state_dict().keys()
    assert_close(evaluated.state_dict(), plain.state_dict(), rtol=0, atol=0)
    for model in (evaluated, plain):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            sum(model(*model.preprocess([image]), [target]).values()).backward()
            optimizer.step()
    assert_close(evaluated.state_dict(), plain.state_dict(), rtol=0, atol=0)
    after = evaluated.predict([image])
    assert_close(after, plain.predict([image]), rtol=0, atol=0)
    assert not torch.equal(before[0]["scores"], after[0]["scores"]) or not len(before[0]["scores"])


def test_a_batch_gives_the_same_detections_as_single_images() -> None:
    model = scattered(compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.02)).eval()
    images, sizes = model.preprocess([torch.rand(3, 64, 96) * 255 for _ in range(3)])
    with torch.no_grad():
        together = model(images, sizes)
        for i, found in enumerate(together):
            assert len(found["scores"]) > 20
            assert_close(found, model(images[i : i + 1], sizes[i : i + 1])[0], rtol=1e-4, atol=1e-3)


def test_no_detections_in_the_padding() -> None:
    """Boxes are clipped to the image and not to its padding; boxes of anchors in the padding may
    reach into the image."""
    model = scattered(compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.0)).eval()
    images, sizes = model.preprocess([torch.rand(3, 40, 33) * 255, torch.rand(3, 128, 160) * 255])
    with torch.no_grad():
        found = model(images, sizes)[0]
    assert len(found["scores"])
    assert (found["boxes"] <= torch.tensor([33, 40, 33, 40])).all()
    assert (found["boxes"][:, 2:] > found["boxes"][:, :2]).all()


def test_lower_precision_by_config() -> None:
    plain = scattered(compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.02))
    fast = compact_model(
        MODEL__RETINANET__SCORE_THRESH_TEST=0.02, MODEL__RETINA_PLUGIN__INFERENCE_DTYPE="bfloat16"
    )
    fast.load_state_dict(plain.state_dict())
    image = torch.randint(0, 256, (3, 96, 96)).float()
    seen = []
    fast.head.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].dtype))
    found, expected = fast.predict([image])[0], plain.predict([image])[0]
    assert seen == [torch.bfloat16]
    assert found["scores"].dtype == found["boxes"].dtype == torch.float32
    assert_close(found["scores"][:10], expected["scores"][:10], atol=0.05, rtol=0)
    target = {"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([1])}
    images, sizes = plain.preprocess([image])
    assert_close(
        fast.train()(images, sizes, [target]), plain.train()(images, sizes, [target])
    )  # training is not affected


def test_unknown_precision() -> None:
    with pytest.raises(
        ValueError,
        match=r"INFERENCE_DTYPE must be one of .*bfloat16.*, found "
        r"'half'",
    ):
        build_model(compact_cfg(MODEL__RETINA_PLUGIN__INFERENCE_DTYPE="half"))


# -------------------------------------------------------------------------------------- suppression


def candidates(number: int, *, classes: int, spread: float = 60.0) -> dict[str, torch.Tensor]:
    boxes = torch.rand(number, 4) * spread - 20  # some with negative coordinates
    boxes[:, 2:] = boxes[:, :2] + 10 + torch.rand(number, 2) * 20
    return {
        "boxes": boxes,
        "scores": torch.rand(number).sort(descending=True).values,
        "labels": torch.randint(0, classes, (number,)),
    }


def one_by_one(found: dict[str, torch.Tensor], threshold: float) -> dict[str, torch.Tensor]:
    """Greedy suppression by its definition, in Python."""
    iou = pairwise_iou(found["boxes"], found["boxes"])
    kept: list[int] = []
    for i in range(len(iou)):
        if all(iou[i, j] <= threshold or found["labels"][i] != found["labels"][j] for j in kept):
            kept.append(i)
    return {name: x[kept] for name, x in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("max_detections", [1, 10, 1000])
@pytest.mark.parametrize("spread", [30.0, 200.0], ids=["crowded", "sparse"])
def test_suppression_of_a_batch(max_detections: int, spread: float) -> None:
    """Images with many, few and no candidates are suppressed together."""
    images = [candidates(number, classes=3, spread=spread) for number in (300, 7, 0, 120)]
    found = batched_suppression(images, nms_threshold=0.3, max_detections=max_detections)
    expected = [
        {name: x[:max_detections] for name, x in one_by_one(image, 0.3).items()} for image in images
    ]
    assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("crowd", "others"), [(480, 20), (480, 5), (100, 20)])
def test_many_duplicates_of_the_best_detection(crowd: int, others: int) -> None:
    """The best candidates all show one object, so more of them must be examined to find ten boxes,
    or all that exist."""
    corners = torch.cat([torch.zeros(crowd), 100.0 * torch.arange(1, others + 1)])
    boxes = torch.stack([corners, corners, corners + 10, corners + 10], dim=1)
    scores = torch.linspace(1, 0.1, len(boxes))
    found = {"boxes": boxes, "scores": scores, "labels": torch.zeros(len(boxes), dtype=torch.int64)}
    alone = {name: x[-1:] for name, x in found.items()}
    kept = [0, *range(crowd, crowd + others)][:10]
    expected = [{name: x[kept] for name, x in found.items()}, alone]
    assert_close(
        batched_suppression([found, alone], nms_threshold=0.5, max_detections=10),
        expected,
        rtol=0,
        atol=0,
    )


class Traced(nn.Module):
    """A batch of one image size -> boxes, scores and labels of each image, because tracers need
    tensors."""

    def __init__(self, model: RetinaNet, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.model, self.sizes = model, sizes

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x for found in self.model(images, self.sizes) for x in found.values())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace.*:FutureWarning"
)
@pytest.mark.parametrize("recorded_from", [0, 1, 2])
def test_a_traced_detector_works_for_other_images(recorded_from: int) -> None:
    """No candidates, a few, or more than are kept: the trace must not contain the counts of the
    recorded image."""
    model = scattered(
        compact_model(TEST__DETECTIONS_PER_IMAGE=15, MODEL__RETINANET__TOPK_CANDIDATES_TEST=20)
    ).eval()
    noise, sizes = model.preprocess([torch.rand(3, 64, 96) * 255 for _ in range(2)])
    corner = F.pad(noise[..., :24], (0, 72))
    batches, eager = [torch.zeros_like(noise), corner, noise], Traced(model, sizes)
    with torch.no_grad():
        assert len({tuple(len(x) for x in eager(batch)) for batch in batches}) == 3
        traced = torch.jit.trace(eager, batches[recorded_from], check_trace=False)
        for batch in batches:
            assert_close(traced(batch), eager(batch), rtol=1e-4, atol=1e-3)


class TracedImages(nn.Module):
    """Images of different sizes -> boxes, scores and labels of each."""

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x for found in self.model.detect_images(images) for x in found.values())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace.*:FutureWarning"
)
@pytest.mark.parametrize("recorded_from", [0, 1])
def test_a_traced_detector_works_for_images_of_other_sizes(recorded_from: int) -> None:
    """Images of a call are padded to a multiple of 32 and clipped by their own size, not by the
    recorded one."""
    model = scattered(compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.02)).eval()
    shapes = [((64, 96), (64, 96)), ((90, 40), (33, 130))]
    calls, eager = (
        [[torch.rand(3, *shape) * 255 for shape in pair] for pair in shapes],
        TracedImages(model),
    )
    with torch.no_grad():
        traced = torch.jit.trace(eager, tuple(calls[recorded_from]), check_trace=False)
        for images in calls:
            expected = eager(*images)
            assert all(len(x) > 10 for x in expected)
            assert_close(traced(*images), expected, rtol=1e-4, atol=1e-3)


def test_many_groups_do_not_reduce_precision() -> None:
    """Two boxes with IoU 0.5 - 1e-4 in group 100 000: an offset in float32 would move their corners
    by up to half a pixel."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4.999]])
    groups = torch.full((2,), 100_000)
    assert batched_nms(boxes, torch.tensor([0.9, 0.8]), groups, 0.5).tolist() == [0, 1]
    assert batched_nms(boxes, torch.tensor([0.9, 0.8]), groups, 0.4998).tolist() == [0]


def test_detections_of_levels_and_images() -> None:
    """Two images, two levels: each level contributes only the best candidates of each image."""
    anchors = [torch.tensor([[0.0, 0, 10, 10], [50, 0, 60, 10]]), torch.tensor([[0.0, 50, 40, 90]])]
    logits = [torch.tensor([[[2.0], [1.0]], [[-9.0], [3.0]]]), torch.tensor([[[0.5]], [[-9.0]]])]
    options = {
        "score_threshold": 0.05,
        "topk": 1,
        "nms_threshold": 0.5,
        "max_detections": 100,
    }
    found = detect(anchors, logits, [torch.zeros(2, 2, 4), torch.zeros(2, 1, 4)], **options)
    assert_close(found[0]["boxes"], torch.stack([anchors[0][0], anchors[1][0]]))
    assert_close(found[0]["scores"], torch.tensor([2.0, 0.5]).sigmoid())
    assert_close(found[1]["boxes"], anchors[0][1:])
