"""Files in the formats of Detectron2's model zoo, made with random weights, are read alike by
Detectron2 and by this project."""

from __future__ import annotations

import copy
import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model as detectron2_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from detectron2.utils.file_io import Detectron2Handler, PathManager
from torch import nn
from torch.testing import assert_close

from retina_plugin.checkpoint import WeightsError, load_initial_weights, load_weights
from retina_plugin.d2.checkpoint import Checkpointer
from retina_plugin.modeling.build import build_model
from tests.checkpoint.test_weights import Payload
from tests.d2.reference import batch, our_cfg, their_cfg
from tests.file_server import FileServer, server

pytestmark = pytest.mark.slow

__all__ = ["server"]
CAFFE2 = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c", "shortcut": "branch1"}
KINDS = {"weight": "gamma", "bias": "beta"}


def write_zoo_file(path: Path, model: nn.Module) -> str:
    """Write a detector as the model zoo does: ``.pkl`` of arrays with their author, or ``.pth``."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if path.suffix == ".pth":
        torch.save({"model": state, "iteration": 89999}, path)
    else:
        arrays = {name: value.numpy() for name, value in state.items()}
        path.write_bytes(
            pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol=4)
        )
    return str(path)


def backbone_arrays(model: nn.Module) -> dict[str, Any]:
    """Random values for every parameter of the ResNet of a detector; the detector itself does not
    change."""
    prefix = "backbone.bottom_up."
    shapes = {
        name.removeprefix(prefix): x.shape
        for name, x in model.state_dict().items()
        if name.startswith(prefix)
    }
    return {name: torch.rand(shape).numpy() for name, shape in shapes.items()}


def caffe2_name(name: str) -> str:
    """res2.0.conv1.norm.weight -> res2_0_branch2a_bn_gamma, stem.conv1.weight -> conv1_w."""
    *place, kind = name.removeprefix("stem.").split(".")
    norm = place[-1] == "norm"
    place = [
        CAFFE2.get(part, part) if place[0] != "conv1" else part for part in place if part != "norm"
    ]
    if norm:
        return "_".join(["res"] * (place == ["conv1"]) + place + ["bn", KINDS.get(kind, kind)])
    return "_".join([*place, kind[0]])


def assert_backbone(model: nn.Module, arrays: dict[str, Any], **tolerances: float) -> None:
    assert len(arrays) == 265  # 53 convolutions, each with four parameters of its frozen norm
    state = model.state_dict()
    for name, value in arrays.items():
        assert_close(
            state[f"backbone.bottom_up.{name}"].contiguous(),
            torch.tensor(value),
            msg=name,
            **tolerances,
        )


@pytest.mark.parametrize(
    ("depth", "suffix"), [(50, ".pkl"), (101, ".pth")], ids=["R-50.pkl", "R-101.pth"]
)
def test_a_detector_of_the_zoo(root: Path, tmp_path: Path, depth: int, suffix: str) -> None:
    """Losses, gradients and detections equal those of the model that the file was written from."""
    reference = lively(detectron2_model(their_cfg(our_cfg(root, MODEL__RESNETS__DEPTH=depth))))
    path = write_zoo_file(tmp_path / f"zoo{suffix}", reference)
    own = detectron2_model(our_cfg(root, MODEL__RESNETS__DEPTH=depth))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning: this config fits files of the model zoo
        load_weights(own, path)
    inputs = [crop(x) for x in batch(80)[:2]]
    with EventStorage():
        theirs, ours = reference(inputs), own(inputs)
    assert_close(ours, theirs, rtol=1e-5, atol=0)
    with torch.no_grad():
        pairs = list(zip(own.eval()(inputs), reference.eval()(inputs), strict=True))
    for a, b in ((a["instances"], b["instances"]) for a, b in pairs):
        assert len(b) > 10
        assert b.scores.std() > 1e-3
        assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor, atol=1e-2, rtol=0)
        assert_close(a.pred_classes, b.pred_classes)
    compare_gradients(own.train().double(), reference.train().double(), inputs)


def compare_gradients(own: nn.Module, reference: nn.Module, inputs: list[dict[str, Any]]) -> None:
    """Compare in float64. In float32, rounding decides the sign of activations near 0, and each
    such ReLU changes a gradient by a jump."""
    for x in inputs:
        x["image"] = x["image"].double()
    with EventStorage():
        for model in (own, reference):
            # matching stays in float32, so that ties between anchors are the same
            model.anchor_generator.float()
            sum(model(inputs).values()).backward()
    gradients = {name: p.grad for name, p in own.named_parameters()}
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            assert (gradients[name] - parameter.grad).norm() / parameter.grad.norm() < 1e-4, name


def crop(sample: dict[str, Any]) -> dict[str, Any]:
    """Crop a sample to its upper left part with at most one box, to save time."""
    instances = Instances(
        (64, 96), gt_boxes=Boxes(torch.tensor([[10.0, 20, 90, 60]])), gt_classes=torch.tensor([7])
    )
    instances = instances if len(sample["instances"]) else instances[:0]
    return {"image": sample["image"][:, :64, :96], "instances": instances}


def lively(model: nn.Module) -> nn.Module:
    """Random weights that spread the scores over (0, 1), in the memory format of our model, so that
    the same kernels run."""
    for name, value in model.state_dict().items():
        if name.endswith("conv3.norm.weight"):  # otherwise activations would grow with every block
            value.fill_(0.2)
        elif name.startswith("head.") and name.endswith("weight"):
            nn.init.normal_(value, std=0.03 if "subnet" in name else 0.002)
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", ["Caffe2", "Caffe2, protocol 0", "torchvision"])
def test_a_backbone_of_the_zoo(
    root: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture
) -> None:
    """Detectron2's checkpointer and ours load equal values into the two models."""
    changes = NARROW if "Caffe2" in layout else NARROW | TORCHVISION
    own = build_model(our_cfg(root, **changes))
    arrays = backbone_arrays(own)
    rest = {"fc1000_w": arrays["stem.conv1.weight"], "conv1_b": arrays["stem.conv1.norm.bias"]}
    if layout == "torchvision":
        rest = {"stem.fc.weight": rest["fc1000_w"]}
        content: Any = {
            "model": {**arrays, **rest},
            "__author__": "torchvision",
            "matching_heuristics": True,
        }
    else:
        content = {**{caffe2_name(name): value for name, value in arrays.items()}, **rest}
        assert {
            "conv1_w",
            "res_conv1_bn_gamma",
            "res4_5_branch2c_bn_running_var",
            "res2_0_branch1_w",
        } < set(content)
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(content, protocol=0 if "protocol 0" in layout else 2))

    theirs, on_detectron2 = (
        detectron2_model(their_cfg(our_cfg(root, **changes))),
        copy.deepcopy(own),
    )
    DetectionCheckpointer(theirs).load(str(path), checkpointables=[])
    assert_backbone(theirs, arrays, rtol=0, atol=0)
    report = str(load_initial_weights(own, str(path), fine_tune=False))
    assert_backbone(own, arrays, rtol=0, atol=0)
    Checkpointer(on_detectron2, str(tmp_path), trainer=nn.Module()).load(
        str(path), checkpointables=[]
    )
    assert_backbone(on_detectron2, arrays, rtol=0, atol=0)
    assert "265 of 301 parameters are taken over" in report
    assert "fresh (36): backbone.top_block.p6, " in report
    assert report.splitlines()[-1].startswith(f"  not used ({len(rest)}): ")
    assert report in capsys.readouterr().out


# Only the channels of an R-50, to save time.
NARROW = {
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 16,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 32,
    "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
    "MODEL__FPN__OUT_CHANNELS": 32,
    "MODEL__RETINANET__NUM_CLASSES": 3,
}
TORCHVISION = {
    "INPUT__FORMAT": "RGB",
    "MODEL__PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL__PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL__RESNETS__STRIDE_IN_1X1": False,
}


def test_statistics_multiplied_into_weight_and_bias(root: Path, tmp_path: Path) -> None:
    """Older Caffe2 files: here the norm is exactly weight * x + bias; Detectron2 deviates by its
    epsilon."""
    own, reference = (
        build_model(our_cfg(root, **NARROW)),
        detectron2_model(their_cfg(our_cfg(root, **NARROW))),
    )
    arrays = {n: x for n, x in backbone_arrays(own).items() if "running" not in n}
    names = {
        n: caffe2_name(n).replace("bn_gamma", "bn_s").replace("bn_beta", "bn_b") for n in arrays
    }
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({names[n]: x for n, x in arrays.items()}))
    DetectionCheckpointer(reference).load(str(path), checkpointables=[])
    load_initial_weights(own, str(path), fine_tune=False)
    theirs, prefix = reference.state_dict(), "backbone.bottom_up."
    theirs = {
        name.removeprefix(prefix): x.numpy()
        for name, x in theirs.items()
        if name.startswith(prefix)
    }
    assert_backbone(own, theirs, rtol=0, atol=2e-5)
    norm = own.backbone.bottom_up.res2[0].conv1.norm.double()
    x = torch.randn(1, 8, 2, 2, dtype=torch.float64)
    assert_close(
        norm(x), x * norm.weight[:, None, None] + norm.bias[:, None, None], rtol=0, atol=1e-6
    )
    groups = {**NARROW, "MODEL__RETINA_PLUGIN__NORM_GROUPS": 4}
    # a trainable norm would normalize a second time
    for other in ("BN", "GN"):
        with pytest.raises(
            WeightsError, match=r"The normalisation differs: change MODEL.RESNETS.NORM"
        ):
            load_initial_weights(
                build_model(our_cfg(root, **groups, MODEL__RESNETS__NORM=other)),
                str(path),
                fine_tune=False,
            )


@pytest.mark.parametrize("name", ["evaluation", "resume"])
def test_a_backbone_is_not_enough(root: Path, tmp_path: Path, name: str) -> None:
    """Detectron2 would detect with a random head and only report this in its log."""
    model = detectron2_model(our_cfg(root, **NARROW))
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": backbone_arrays(model), "__author__": "x"}))
    checkpointer = Checkpointer(
        model, str(tmp_path), **({"trainer": nn.Module()} if name == "resume" else {})
    )
    with pytest.raises(WeightsError, match="only a backbone: training can start from it"):
        checkpointer.load(str(path), **({} if name == "resume" else {"checkpointables": []}))


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".pyth"])
def test_a_malicious_file_executes_nothing(root: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps({"model": Payload(tmp_path / "created"), "__author__": "x"}))
    checkpointer = Checkpointer(nn.Linear(1, 1), str(tmp_path))
    with pytest.raises(WeightsError, match="can be read safely"):
        checkpointer.load(str(path), checkpointables=[])
    assert not (tmp_path / "created").exists()


def test_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    Checkpointer(model, str(tmp_path)).load("~/x.pth")
    assert_close(model.state_dict(), other.state_dict())


def test_addresses_of_detectron2_use_its_path_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes its cache and the handlers that users have added."""
    model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    asked = []

    def handler(path: str, force: bool = False, **kwargs: object) -> str:
        asked.append(path)
        return str(tmp_path / "x.pth")

    monkeypatch.setattr(PathManager, "get_local_path", handler)
    Checkpointer(model, str(tmp_path)).load("detectron2://a/x.pth?matching_heuristics=True")
    assert asked[0] == "detectron2://a/x.pth"
    assert_close(model.state_dict(), other.state_dict())


def test_an_address_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detectron2Handler, "S3_DETECTRON2_PREFIX", "https://localhost:1/")
    checkpointer = Checkpointer(nn.Linear(1, 1), str(tmp_path))
    with pytest.raises(
        WeightsError,
        match=r"MODEL.WEIGHTS detectron2://.* cannot be fetched: .* give "
        r"its path",
    ):
        checkpointer.load("detectron2://R-50.pkl", checkpointables=[])


def test_other_addresses_are_downloaded_as_on_lightning(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path))
    model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    content = server.files["/x.pth?v=1"] = (tmp_path / "x.pth").read_bytes()
    address = f"{server.address}/x.pth?v=1#sha256={hashlib.sha256(content).hexdigest()}"
    Checkpointer(model, str(tmp_path)).load(address, checkpointables=[])
    assert_close(model.state_dict(), other.state_dict())
    with pytest.raises(WeightsError, match=r"expected a checksum at the end of the address"):
        Checkpointer(model, str(tmp_path)).load("https://localhost:1/R-50.pkl")
