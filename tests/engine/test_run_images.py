"""Images in complete runs on either host: more than 8 bits, and unusable ones, which must end a run
before training."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin import get_cfg
from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import DatasetError, load_dataset
from retina_plugin.data.images import stored_values
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import host_of
from retina_plugin.engine.run_images import prepare_images
from tests.deep_images import deepen, write_tiff
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
KEY = "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE"
TINY = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2"]


@pytest.fixture(autouse=True)
def process_wide_settings() -> Iterator[None]:
    """Restore the settings that a run changes in its process."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def train_net() -> Any:
    return load_tool("train_net").main


def files(folder: Path, part: str) -> list[Path]:
    return sorted((folder / part / "images").iterdir())


def deep_run(folder: Path, root: Path) -> str:
    """The config of a run on 12-bit scenes stored in 16 bits."""
    config = write_run(folder, root)
    for path in files(folder, "train") + files(folder, "test"):
        deepen(path, 16)
    return config


def range_in(config: Path) -> Any:
    cfg = get_cfg()
    cfg.merge_from_file(str(config))
    return cfg.MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE


@pytest.mark.parametrize("host", HOSTS)
def test_auto_is_measured_once_and_kept(
    host: str, tmp_path: Path, root: Path, train_net: Any, capsys: pytest.CaptureFixture
) -> None:
    """The range is stored in config.yaml and in the checkpoint, and used by the resumed run, the
    evaluation and the demo."""
    config, out = deep_run(tmp_path, root), tmp_path / "out"
    train_net(["--config-file", config, "--host", host, *TINY, "SOLVER.CHECKPOINT_PERIOD", "1"])
    values = np.concatenate(
        [stored_values(str(path)).reshape(-1) for path in files(tmp_path, "train")]
    )
    expected = range_in(out / "config.yaml")
    np.testing.assert_allclose(expected, np.percentile(values, [0.1, 99.9]), rtol=0.03)
    assert f"PIXEL_RANGE auto is [{expected[0]:g}, {expected[1]:g}]" in capsys.readouterr().out
    assert read_checkpoint(str(out / "model_final.pth"))["metadata"]["pixel_range"] == expected

    for path in files(tmp_path, "train"):
        deepen(path, 1)  # auto would now measure another range
    train_net(["--config-file", config, "--host", host, "--resume", *TINY, "SOLVER.MAX_ITER", "3"])
    assert range_in(out / "config.yaml") == expected
    assert read_checkpoint(str(out / "model_final.pth"))["metadata"]["pixel_range"] == expected

    weights, other = ["MODEL.WEIGHTS", str(out / "model_final.pth")], str(tmp_path / "evaluation")
    train_net(
        ["--config-file", config, "--host", host, "--eval-only", *weights, "OUTPUT_DIR", other]
    )
    assert range_in(Path(other, "config.yaml")) == expected
    assert f"pixel range: {expected} of {weights[1]}" in capsys.readouterr().out


@pytest.mark.parametrize("host", HOSTS)
def test_12_bits_with_their_range_are_the_8_bits_that_they_came_from(
    host: str, tmp_path: Path, root: Path, train_net: Any
) -> None:
    """Losses and metrics are equal in training and evaluation."""
    weights = []
    for name, write in (("shallow", write_run), ("deep", deep_run)):
        (tmp_path / name).mkdir()
        config = write(tmp_path / name, root)
        train_net(["--config-file", config, "--host", host, *TINY, KEY, "[0, 4096]"])
        weights.append(read_checkpoint(str(tmp_path / name / "out/model_final.pth"))["model"])
    shallow, deep = (
        tmp_path / name / "out/inference/coco_instances_results.json"
        for name in ("shallow", "deep")
    )
    assert shallow.read_text() == deep.read_text()
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


@pytest.mark.parametrize("host", HOSTS)
def test_8_bits_keep_auto_and_are_not_decoded_for_it(
    host: str, tmp_path: Path, root: Path, train_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retina_plugin.data.pixel_range.stored_values", None)
    train_net(["--config-file", write_run(tmp_path, root), "--host", host, *TINY])
    assert range_in(tmp_path / "out/config.yaml") == "auto"
    assert "pixel_range" not in read_checkpoint(str(tmp_path / "out/model_final.pth"))["metadata"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_deep_test_set_needs_a_range(
    host: str, tmp_path: Path, root: Path, train_net: Any
) -> None:
    config = write_run(tmp_path, root)
    deepen(files(tmp_path, "test")[2], 16)
    with pytest.raises(
        DatasetError,
        match=rf"1 of 18 images need a range .*{KEY} is auto.* "
        r"003\.png|003\.png is a 16",
    ):
        train_net(["--config-file", config, "--host", host, *TINY])
    assert not (tmp_path / "out").exists()


def wrong_size(path: Path) -> None:
    Image.new("RGB", (10, 20)).save(path)


def no_image(path: Path) -> None:
    path.write_text("<html>not found</html>")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def five_channels(path: Path) -> None:
    write_tiff(path, np.zeros((64, 80, 5), np.uint8))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wrong_size, "is 10x20 pixels, its annotations say 80x64"),
        (no_image, "its format is unknown"),
        (fifo, "it is a FIFO, not a file"),
        (five_channels, "8-bit RGB TIFF with 5 channels"),
        (cut_off, "truncated"),
    ],
)
@pytest.mark.parametrize("host", HOSTS)
def test_images_that_cannot_be_used_are_found_before_training(
    host: str, spoil: Any, words: str, tmp_path: Path, root: Path, train_net: Any
) -> None:
    """This includes the test set, and runs that only evaluate."""
    config = write_run(tmp_path, root)
    spoil(files(tmp_path, "test")[0])
    spoil(files(tmp_path, "train")[0])
    with pytest.raises(DatasetError, match=f"2 of 18 images cannot be used: .*{words}"):
        train_net(["--config-file", config, "--host", host, *TINY])
    assert not (tmp_path / "out").exists()
    weights = tmp_path / "x.pth"
    weights.touch()
    with pytest.raises(DatasetError, match=f"1 of 6 images cannot be used: .*{words}"):
        train_net(
            ["--config-file", config, "--host", host, "--eval-only", "MODEL.WEIGHTS", str(weights)]
        )


@pytest.mark.parametrize("host", HOSTS)
def test_the_limit_on_pixels_is_a_key(
    host: str, tmp_path: Path, root: Path, train_net: Any
) -> None:
    config, limit = write_run(tmp_path, root), "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS"
    with pytest.raises(DatasetError, match=rf"80x64 = 5120 pixels, {limit} allows 5000: raise it"):
        train_net(["--config-file", config, "--host", host, *TINY, limit, "5000"])
    train_net(["--config-file", config, "--host", host, *TINY, limit, "5120"])
    assert (tmp_path / "out/model_final.pth").is_file()


@pytest.mark.parametrize("size", [(3, 60000), (60000, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("host", HOSTS)
def test_extreme_shapes_keep_a_pixel(
    host: str, size: tuple[int, int], tmp_path: Path, root: Path, train_net: Any
) -> None:
    config = write_run(tmp_path, root)
    (tmp_path / "one.json").write_text(
        f'{{"images": [{{"id": 1, "file_name": "one.png", "width": {size[0]}, "height": '
        f"{size[1]}}}], "
        f'"annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, {size[0]}, '
        f"{size[1]}]}}], "
        '"categories": [{"id": 1, "name": "a"}]}'
    )
    Image.new("RGB", size).save(tmp_path / "one.png")
    name = f"('{tmp_path}/one.json@{tmp_path}',)"
    crop = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "[0.1, 0.1]"]
    names = ["DATASETS.TRAIN", name, "DATASETS.TEST", name, "SOLVER.IMS_PER_BATCH", "1"]
    train_net(["--config-file", config, "--host", host, *TINY, *names, *crop])
    assert (tmp_path / "out/inference/coco_instances_results.json").is_file()


# -------------------------------------------------------------------------------------------- tools


def test_tools_read_deep_images(
    tmp_path: Path, root: Path, train_net: Any, capsys: pytest.CaptureFixture
) -> None:
    config, out = deep_run(tmp_path, root), tmp_path / "out"
    train_net(["--config-file", config, "--host", "lightning", *TINY])
    test_set = f"{tmp_path}/test/annotations.json@{tmp_path}/test/images"
    weights, shown = ["--weights", str(out / "model_final.pth")], str(tmp_path / "shown")
    os.mkfifo(tmp_path / "test/images/fifo.png")
    inputs = ["--input", str(tmp_path / "test/images"), "--output", shown]
    # PIXEL_RANGE is auto; the checkpoint contains the measured range
    with pytest.raises(SystemExit):
        load_tool("demo").main(["--config-file", config, *weights, *inputs])
    assert "1 of 7 inputs failed" in capsys.readouterr().err
    results = [
        "--input",
        str(out / "inference/coco_instances_results.json"),
        "--dataset",
        test_set,
        "--output",
        shown,
    ]
    load_tool("visualize_json_results").main([*results, "--config-file", str(out / "config.yaml")])
    load_tool("visualize_json_results").main(results)
    assert "PIXEL_RANGE auto is [" in capsys.readouterr().out
    load_tool("visualize_data").main(["--dataset", test_set, "--output-dir", shown])
    for source in ("annotation", "dataloader"):
        load_tool("visualize_data").main(
            [
                "--config-file",
                config,
                "--source",
                source,
                "--max-images",
                "3",
                "--output-dir",
                shown,
            ]
        )
    assert "PIXEL_RANGE auto is [" in capsys.readouterr().out
    (picture, *_) = sorted(Path(shown).glob("*.jpg"))
    assert len(np.unique(np.asarray(Image.open(picture)))) > 100


def test_predict_warns_once_of_values_0_to_1(recwarn: pytest.WarningsRecorder) -> None:
    from tests.models import compact_model

    model = compact_model()
    model.predict([torch.zeros(3, 64, 64), torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)])
    assert not [w for w in recwarn if "0..1" in str(w.message)]
    for _ in range(2):
        model.predict([torch.rand(3, 64, 64)])
    assert len([w for w in recwarn if "0..1" in str(w.message)]) == 1


@pytest.mark.parametrize("size", [0, 79, 80])
def test_slices_larger_than_all_images(tmp_path: Path, root: Path, size: int) -> None:
    """The longer side of the scenes is 80. A new run is refused; others use whole images."""
    cfg = get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE = size

    def lines(**flags: bool) -> str:
        host, request = host_of("lightning"), Request(**flags)
        return prepare_images(cfg, request, host, lambda n: load_dataset(n).records)

    expected = "TEST.SLICE.SIZE is 80, and no image has a longer side (at most 80 pixels)"
    if size == 80:
        with pytest.raises(ConfigError, match=re.escape(expected)):
            lines()
    else:
        assert "SLICE" not in lines()
    for flags in ({"resume": True}, {"eval_only": True}):
        assert (expected in lines(**flags)) == (size == 80)
