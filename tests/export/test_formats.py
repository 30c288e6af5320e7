"""Every format and every kind of outputs gives the detections of the model; files are kept only if
they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.export.compare import detection_difference
from retina_plugin.export.detector import ExportedDetector
from retina_plugin.export.file_kind import LIBRARIES
from retina_plugin.export.load import load_exported
from retina_plugin.modeling.preprocessing import resize_to
from retina_plugin.modeling.retinanet import RetinaNet
from tests.export.models import NAMES, THRESHOLDS, export, photos

pytestmark = pytest.mark.slow


def need(format: str) -> None:
    for library in LIBRARIES.get(format, ()):
        pytest.importorskip(library)


def require_equal(detector: ExportedDetector, model: RetinaNet) -> None:
    """The detections of images of several sizes are equal, one by one and together."""
    images = photos()
    expected = model.predict(images)
    assert sum(len(x["scores"]) for x in expected) > 10
    one_by_one = [detector.predict([image])[0] for image in images]
    for found in (detector.predict(images), one_by_one):
        for one, other in zip(found, expected, strict=True):
            assert detection_difference(one, other, model.postprocessor) == ""
            assert one["labels"].dtype == torch.int64
    assert detector.predict([]) == []


@pytest.mark.parametrize(
    ("format", "outputs"),
    [
        ("onnx", "boxes"),
        ("onnx", "raw"),
        ("openvino", "boxes"),
        pytest.param("torch", "boxes", marks=pytest.mark.long),
        ("torchscript", "boxes"),
        ("torchscript", "raw"),
    ],
)
def test_a_file_of_dynamic_size(format: str, outputs: str, tmp_path: Path) -> None:
    need(format)
    model, path = export(tmp_path, format, outputs)
    detector = load_exported(path)
    require_equal(detector, model)
    assert (detector.class_names, detector.score_thresholds) == (NAMES, THRESHOLDS)
    assert detector.metadata["names"] == "{0: 'cat', 1: 'guinea pig', 2: 'dog'}"
    assert detector.metadata["model_info labels"] == "cat guinea_pig dog"


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("suppressor", ["NMS", "ClassAgnosticNMS"])
def test_a_file_with_suppression(format: str, suppressor: str, tmp_path: Path) -> None:
    """Images whose padded size is that of the file get the detections of the model."""
    need(format)
    name: dict[str, Any] = {"MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME": suppressor}
    model, path = export(tmp_path, format, "detections", **name)
    detector = load_exported(path)
    images = [photos()[0], photos()[3]]
    for one, other in zip(detector.predict(images), model.predict(images), strict=True):
        assert len(other["scores"]) > 5
        assert detection_difference(one, other, model.postprocessor) == ""
    outputs = detector.run(torch.zeros(3, 3, 64, 96))
    most = model.postprocessor.max_detections
    assert outputs["num_detections"].shape == (3, 1)
    assert outputs["detection_boxes"].shape == (3, most, 4)
    count = int(outputs["num_detections"][0])
    assert (outputs["detection_scores"][0, count:] == 0).all()
    assert (outputs["detection_classes"][0, count:] == -1).all()


@pytest.mark.slow
def test_a_fixed_size_takes_other_images_too(tmp_path: Path) -> None:
    """Larger images are scaled down, smaller ones padded; boxes are in pixels of the image."""
    need("onnx")
    _, path = export(tmp_path, "onnx", "detections", INPUT__MIN_SIZE_TEST=0)
    image = photos()[0]
    double = torch.nn.functional.interpolate(image[None].float(), scale_factor=2)[0]
    detector = load_exported(path)
    (large,), (small,) = (detector.predict([x]) for x in (double, resize_to(double, (64, 96))))
    assert len(small["scores"]) > 5
    torch.testing.assert_close(large["boxes"], 2 * small["boxes"])
    torch.testing.assert_close(large["scores"], small["scores"])
    assert detector.predict([image[:, :40, :50]])[0]["boxes"].shape[1] == 4


FAMILIES: dict[str, dict[str, Any]] = {
    "pafpn": {"MODEL__BACKBONE__NAME": "build_retina_resnet_pafpn_backbone"},
    "bifpn": {"MODEL__BACKBONE__NAME": "build_retina_resnet_bifpn_backbone"},
    "bottlenecks, FrozenBN": {
        "MODEL__RESNETS__DEPTH": 50,
        "MODEL__RESNETS__RES2_OUT_CHANNELS": 8,
        "MODEL__RESNETS__NORM": "FrozenBN",
    },
    "BN": {"MODEL__RESNETS__NORM": "BN", "MODEL__FPN__NORM": "BN", "MODEL__RETINANET__NORM": "BN"},
    "distributions": {
        "MODEL__RETINA_PLUGIN__BOX_CODER__NAME": "DistributionCoder",
        "MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "giou",
    },
    "quality": {"MODEL__RETINA_PLUGIN__HEAD__QUALITY": "iou"},
    "soft-NMS": {"MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME": "SoftNMS"},
    "slices": {"MODEL__RETINA_PLUGIN__TEST__SLICE__SIZE": 48},
    "flips": {"TEST__AUG__ENABLED": True, "TEST__AUG__MIN_SIZES": (64,)},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, tmp_path: Path) -> None:
    need("onnx")
    model, path = export(tmp_path, "onnx", **FAMILIES[family])
    require_equal(load_exported(path), model)


@pytest.mark.slow
def test_a_backbone_of_timm(tmp_path: Path) -> None:
    need("onnx")
    pytest.importorskip("timm")
    changes = {
        "MODEL__BACKBONE__NAME": "build_retina_timm_fpn_backbone",
        "MODEL__RETINA_PLUGIN__TIMM__NAME": "efficientnet_lite0",
        "MODEL__PIXEL_MEAN": [127.5] * 3,
        "MODEL__PIXEL_STD": [127.5] * 3,
        "INPUT__FORMAT": "RGB",
    }
    model, path = export(tmp_path, "onnx", **changes)
    require_equal(load_exported(path), model)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["quality", "distributions"])
def test_suppression_with(family: str, tmp_path: Path) -> None:
    need("onnx")
    model, path = export(tmp_path, "onnx", "detections", **FAMILIES[family])
    image = photos()[0]
    found, expected = (x.predict([image])[0] for x in (load_exported(path), model))
    assert len(expected["scores"]) > 5
    assert detection_difference(found, expected, model.postprocessor) == ""
