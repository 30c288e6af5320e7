"""The whole model on the CPU, without a host."""

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.preprocessing import resize, resized_shape
from tests.models import compact_cfg, compact_model


def target(*boxes: list[float], labels: list[int] | None = None) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels or [], dtype=torch.int64),
    }


@pytest.mark.usefixtures("both_forms")
def test_losses_with_and_without_boxes() -> None:
    model = compact_model()
    images, sizes = model.preprocess([torch.rand(3, 60, 80) * 255, torch.rand(3, 64, 50) * 255])
    assert images.shape == (2, 3, 64, 96)
    losses = model(images, sizes, [target([5.0, 5, 40, 40], labels=[1]), target()])
    sum(losses.values()).backward()
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.usefixtures("both_forms")
def test_only_empty_images() -> None:
    model = compact_model()
    images, sizes = model.preprocess([torch.rand(3, 64, 64) * 255])
    losses = model(images, sizes, [target()])
    sum(losses.values()).backward()
    assert losses["loss_box_reg"] == 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("classes", [[0, 3], [-1, 2]])
def test_labels_outside_the_classes_of_the_model(classes: list[int]) -> None:
    model = compact_model()
    target = {"boxes": torch.tensor([[10.0, 10, 40, 40]] * 2), "labels": torch.tensor(classes)}
    with pytest.raises(
        ValueError,
        match=r"image 0 of the batch: expected classes from 0 to 2, "
        r"found \[",
    ):
        model(*model.preprocess([torch.zeros(3, 64, 64)]), [target])


def test_assigners_get_predictions_without_gradients() -> None:
    """Assigners may use predictions, but without gradients; the predictions that the criterion gets
    have gradients."""
    model, seen = compact_model(), {}
    assigner = model.assigner

    def looking(anchors, targets, predictions):
        seen["assigner"] = predictions
        return assigner(anchors, targets, predictions)

    model.assigner = looking
    model.criterion.register_forward_pre_hook(lambda _, args: seen.update(criterion=args[0]))
    model(*model.preprocess([torch.zeros(3, 64, 64)]), [target([5.0, 5, 40, 40], labels=[1])])
    assert not seen["assigner"].logits.requires_grad
    assert not seen["assigner"].deltas.requires_grad
    assert seen["criterion"].logits.requires_grad
    assert seen["criterion"].deltas.requires_grad
    assert_close(seen["assigner"].logits, seen["criterion"].logits)


@pytest.mark.usefixtures("both_forms")
def test_normalizer_is_part_of_the_state() -> None:
    model = compact_model()
    images, sizes = model.preprocess([torch.rand(3, 64, 64) * 255])
    model(images, sizes, [target([5.0, 5, 40, 40], labels=[1])])
    assert model.state_dict()["loss_normalizer"] < 100


@pytest.mark.usefixtures("both_forms")
def test_evaluation_does_not_change_the_normalizer() -> None:
    """A validation loss is divided by the average of training and does not change later
    training."""
    model = compact_model()  # GN is the same in both modes
    images, sizes = model.preprocess([torch.rand(3, 64, 64) * 255])
    targets = [target([5.0, 5, 40, 40], labels=[1])]
    before = model(images, sizes, targets)
    average = model.loss_normalizer.clone()
    with torch.no_grad():
        validation = model.eval()(images, sizes, targets)
    assert_close(model.loss_normalizer, average, rtol=0, atol=0)
    assert_close(validation, {name: loss.detach() for name, loss in before.items()})


def test_padding_changes_neither_sizes_nor_the_image() -> None:
    model, image = compact_model(), torch.rand(3, 40, 33) * 255
    batch, sizes = model.preprocess([image])
    assert sizes == [(40, 33)]
    assert_close(batch[0, :, :40, :33], (image - model.pixel_mean) / model.pixel_std)
    assert (batch[0, :, 40:] == 0).all()
    assert (batch[0, :, :, 33:] == 0).all()


@pytest.mark.slow
def test_overfits_one_image() -> None:
    """After some steps on two coloured rectangles, both are found with their classes, and nothing
    else."""
    model = compact_model()
    image = torch.zeros(3, 96, 96)
    image[0, 10:50, 10:50], image[1, 40:80, 52:92] = 255, 255  # blue and green, in BGR
    ground_truth = target([10.0, 10, 50, 50], [52.0, 40, 92, 80], labels=[0, 2])
    images, sizes = model.preprocess([image])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        losses = model(images, sizes, [ground_truth])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    model.eval()
    found = model.predict([image.flip(0)])[0]
    sure = found["scores"] > 0.9  # an ignored anchor may have a lower score
    order = found["labels"][sure].argsort()
    assert_close(found["labels"][sure][order], ground_truth["labels"])
    assert_close(found["boxes"][sure][order], ground_truth["boxes"], atol=4, rtol=0)


def test_predict_in_original_pixels() -> None:
    """With or without resizing the shorter side to 64, a box is returned in pixels of the given
    image."""
    model = compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.0, INPUT__MIN_SIZE_TEST=64)
    image = torch.randint(0, 256, (3, 200, 320), dtype=torch.uint8)
    found = model.predict([image, image[:, :50, :40]])
    assert len(found) == 2
    assert found[0]["boxes"].max() > 110  # larger than the network input of 64 x 102 pixels
    assert (found[0]["boxes"] <= torch.tensor([320, 200, 320, 200])).all()
    assert (found[1]["boxes"] <= torch.tensor([40, 50, 40, 50])).all()
    assert model.training
    assert model.predict([]) == []


def test_predict_restores_the_mode_of_every_module() -> None:
    """A backbone in evaluation mode inside a model in training mode keeps its mode, also after an
    error."""
    model = compact_model().train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    model.predict([torch.zeros(3, 64, 64)])
    assert [module.training for module in model.modules()] == modes
    model.in_features = ("nowhere",)
    with pytest.raises(KeyError):
        model.predict([torch.zeros(3, 64, 64)])
    assert [module.training for module in model.modules()] == modes


def test_predict_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"RGB images \(3, H, W\), found a tensor \(10, 20, 3\)"):
        compact_model().predict([torch.zeros(10, 20, 3)])


def test_channel_order() -> None:
    """``predict`` takes RGB; with INPUT.FORMAT RGB instead of BGR the same weights get the channels
    in the other order."""
    bgr, rgb = (
        compact_model(),
        compact_model(INPUT__FORMAT="RGB", MODEL__PIXEL_MEAN=[123.675, 116.280, 103.530]),
    )
    rgb.load_state_dict(bgr.state_dict())
    rgb.backbone.bottom_up.stem.conv1.weight.data = (
        bgr.backbone.bottom_up.stem.conv1.weight.data.flip(1)
    )
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    for model in (bgr, rgb):
        model.postprocessor.score_threshold = 0.0
    assert_close(
        bgr.predict([image])[0]["scores"], rgb.predict([image])[0]["scores"], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        pytest.param((480, 640), (800, 1333), (800, 1067), id="the shorter side"),
        pytest.param((300, 900), (800, 1333), (444, 1333), id="the longer side limits"),
        pytest.param((123, 45), (0, 1333), (123, 45), id="0 keeps the size"),
        pytest.param((2, 5), (5, 1333), (5, 13), id="12.5 becomes 13"),
        pytest.param((2, 7), (5, 1333), (5, 18), id="17.5 becomes 18"),
        pytest.param((7, 2), (5, 1333), (18, 5), id="of a tall image too"),
    ],
)
def test_resized_shape(
    size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resized_shape(*size, *limits) == expected
    assert resize(torch.zeros(3, *size), *limits).shape[-2:] == expected


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"MODEL__BACKBONE__NAME": "build_retina_resnet_fpn_backbon"},
            KeyError,
            "Nearest: build_retina_resnet_fpn_backbone",
        ),
        (
            {
                "MODEL__BACKBONE__NAME": "build_retina_resnet_backbone",
                "MODEL__RETINANET__IN_FEATURES": ["res3", "res4"],
            },
            ValueError,
            r"maps of build_retina_resnet_backbone have \[32, 64\] channels, .* use a backbone "
            r"with a neck",
        ),
        ({"MODEL__RETINA_PLUGIN__HEAD__NAME": "RetinaHed"}, KeyError, "Nearest: RetinaHead"),
        (
            {"MODEL__RETINA_PLUGIN__IMPORTS": ["no_such_module"]},
            ValueError,
            "IMPORTS names 'no_such_module'",
        ),
        ({"MODEL__RETINANET__NUM_CLASSES": -1}, ValueError, "NUM_CLASSES is -1"),
        (
            {"MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "iou"},
            KeyError,
            "BBOX_REG_LOSS_TYPE: no box loss is called 'iou'",
        ),
        ({"MODEL__RETINANET__IOU_LABELS": [0, 1, 1]}, ValueError, "IOU_THRESHOLDS and IOU_LABELS"),
    ],
)
def test_configs_that_cannot_be_built(changes: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build_model(compact_cfg(**changes))
