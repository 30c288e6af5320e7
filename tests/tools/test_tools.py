"""The tools through their command lines: files that they write, and messages for mistakes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from itertools import count, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin.data import load_dataset
from retina_plugin.engine import process
from retina_plugin.engine.stopping import Interrupted
from retina_plugin.inference import opencv_reader
from retina_plugin.inference.predictor import Predictor
from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.lit.data import training_samples as lit_samples
from tests.load_tools import load_tool
from tests.models import compact_cfg, compact_model
from tests.scenes import COLOURS, write_run, write_scenes
from tests.threads import one_thread

__all__ = ["one_thread"]  # a fixture

pytestmark = pytest.mark.slow

cv2 = pytest.importorskip("cv2")

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


@pytest.fixture(scope="module")
def tools() -> Any:
    """The tools as modules: ``tools["demo"].main([...])``."""
    return {
        name: load_tool(name)
        for name in ("visualize_data", "visualize_json_results", "demo", "plot_losses")
    }


@pytest.fixture
def scenes(tmp_path: Path) -> str:
    """Four images of 64 x 80 or 80 x 64 pixels, as ``annotations.json@image_folder``."""
    return write_scenes(tmp_path / "scenes", count=4, seed=0)


def message(capsys: pytest.CaptureFixture, main: Any, *argv: object) -> str:
    """The message of a tool on standard error when it exits with code 2."""
    with pytest.raises(SystemExit) as end:
        process.run(lambda: main([str(word) for word in argv]))
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.splitlines()[-1]


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """File name -> (H, W, 3) RGB image for all images of a folder, which may also contain a JSON or
    a video."""
    found = {}
    for path in sorted(folder.iterdir()):
        assert path.suffix in (".jpg", ".json", ".mp4")
        if path.suffix == ".jpg":
            with Image.open(path) as image:
                found[path.name] = np.asarray(image.convert("RGB"))
    return found


# visualize_data


def test_annotations(
    tools: Any, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tools["visualize_data"].main(["--dataset", scenes, "--output-dir", str(tmp_path / "out")])
    found = pictures(tmp_path / "out")
    assert list(found) == ["00000_001.jpg", "00001_002.jpg", "00002_003.jpg", "00003_004.jpg"]
    assert all(min(picture.shape[:2]) >= 300 for picture in found.values())
    printed = capsys.readouterr()
    assert "4 images, 1 of them without boxes; 6 boxes" in printed.out
    assert "4 pictures in" in printed.out
    assert "4/4" in printed.err  # the progress bar


def test_annotations_of_a_config_need_no_training(tools: Any, tmp_path: Path, root: Path) -> None:
    argv = [
        "--config-file",
        write_run(tmp_path, root),
        "--output-dir",
        str(tmp_path / "out"),
        "--max-images",
        "2",
    ]
    tools["visualize_data"].main(argv)
    assert len(pictures(tmp_path / "out")) == 2
    assert not (tmp_path / "out/config.yaml").exists()


def test_anchors_that_are_too_large_are_reported(
    tools: Any, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = [
        "--config-file",
        write_run(tmp_path, root),
        "--anchors",
        "--output-dir",
        str(tmp_path / "out"),
    ]
    shares = []
    for sizes in ("[[24, 34], [48, 60]]", "[[100, 120], [200, 240]]"):
        tools["visualize_data"].main(
            [*argv, "--max-images", "1", "MODEL.ANCHOR_GENERATOR.SIZES", sizes]
        )
        shares.append([line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:5]])
    assert shares == [["matched", "100%", "100%", "-"], ["matched", "0%", "0%", "-"]]


def test_anchors_are_matched_after_training_transforms(
    tools: Any, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    """Anchors that are too large for the whole image match boxes of half crops that are enlarged to
    its size; on either host."""
    config = write_run(tmp_path, root)
    argv = [
        "--config-file",
        config,
        "--anchors",
        "--max-images",
        "1",
        "--output-dir",
        str(tmp_path / "out"),
    ]
    sizes = ["MODEL.ANCHOR_GENERATOR.SIZES", "[[48, 54], [60, 80]]"]
    crop = [
        "INPUT.CROP.ENABLED",
        "True",
        "INPUT.CROP.TYPE",
        "relative",
        "INPUT.CROP.SIZE",
        "[0.5, 0.5]",
    ]
    found = {}
    for name, options in (
        ("whole", ["--host", "lightning", *sizes]),
        *((host, ["--host", host, *sizes, *crop]) for host in HOSTS),
    ):
        tools["visualize_data"].main([*argv, *options])
        lines = capsys.readouterr().out.splitlines()
        found[name] = [int(line.split()[-1].rstrip("%")) for line in lines[2:4]]
        assert (
            "in 5 random crops, sizes and flips of training for each of 12 images, seed 1"
            in lines[5]
        )
    assert found["whole"] == [0, 0]
    cropped = found.pop("lightning")
    assert all(share > 20 for share in cropped)
    assert all(shares == cropped for name, shares in found.items() if name != "whole")
    assert abs(fed(tools["visualize_data"], config, [*sizes, *crop]) - cropped[0] / 100) < 0.1


def fed(tool: ModuleType, config: str, overrides: list[str]) -> float:
    """The share of squares in training samples that an anchor matches."""
    cfg = tool.config_of(tool.parse(["--config-file", config, *overrides]), "lightning")
    anchors, met = tool.anchors_of(cfg, 3), []
    for sample in islice(lit_samples(cfg), 200):
        overlaps = pairwise_iou(
            sample["boxes"][sample["labels"] == 0], anchors(*sample["image"].shape[1:])
        )
        met += (overlaps.amax(dim=1) >= 0.5).tolist()
    return sum(met) / len(met)


@pytest.mark.parametrize("host", HOSTS)
def test_dataloader(
    tools: Any, tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    """Training samples have the sizes of INPUT, and boxes fit the coloured objects also after
    flips."""
    config = write_run(tmp_path, root)
    argv = [
        "--config-file",
        config,
        "--source",
        "dataloader",
        "--host",
        host,
        "--output-dir",
        str(tmp_path / "out"),
    ]
    tools["visualize_data"].main([*argv, "--max-images", "6", "INPUT.MIN_SIZE_TRAIN", "(320,)"])
    assert f"host: {host}" in capsys.readouterr().out
    found = pictures(tmp_path / "out")
    assert len(found) == 6
    assert all(min(picture.shape[:2]) == 320 for picture in found.values())


@pytest.mark.parametrize("host", HOSTS)
def test_samples_fit_their_boxes(tools: Any, tmp_path: Path, root: Path, host: str) -> None:
    """The mean colour in a box is that of its class: image and boxes are flipped together, and
    channels are RGB."""
    argv = [
        "--config-file",
        write_run(tmp_path, root),
        "--source",
        "dataloader",
        "--host",
        host,
        "SEED",
        "1",
    ]
    cfg = tools["visualize_data"].config_of(tools["visualize_data"].parse(argv), host)
    module = importlib.import_module(tools["visualize_data"].LOADER[host])
    seen = 0
    for sample, _ in zip(module.training_samples(cfg), range(12), strict=False):
        for (x0, y0, x1, y1), label in zip(
            sample["boxes"].round().int().tolist(), sample["labels"].tolist(), strict=True
        ):
            if label == 1:  # bars are drawn last, so they are not covered
                mean = sample["image"][:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].float().mean(dim=(1, 2))
                np.testing.assert_allclose(mean, COLOURS[7], atol=12)
                seen += 1
    assert seen > 5


def test_a_broken_image_is_counted_and_left_out(
    tools: Any, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "scenes/images/003.png").write_bytes(b"broken")
    tools["visualize_data"].main(["--dataset", scenes, "--output-dir", str(tmp_path / "out")])
    assert len(pictures(tmp_path / "out")) == 3
    assert "1 of 4 files were skipped" in (printed := capsys.readouterr().out)
    assert "003.png" in printed


def test_mistakes_of_visualize_data(
    tools: Any, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    main, out = tools["visualize_data"].main, ("--output-dir", tmp_path / "out")
    assert "no data set is called 'digit_train'. Nearest: digits_train" in message(
        capsys, main, "--dataset", "digit_train", *out
    )
    assert "nowhere.json" in message(capsys, main, "--dataset", "nowhere.json@images", *out)
    assert "--max-images above 0" in message(
        capsys, main, "--dataset", "a", "--source", "dataloader"
    )
    assert "--anchors needs --config-file" in message(capsys, main, "--dataset", "a", "--anchors")
    config = write_run(tmp_path, root)
    assert "DATASETS.TRAIN is empty" in message(
        capsys, main, "--config-file", config, *out, "DATASETS.TRAIN", "()"
    )
    assert "unknown key" in message(
        capsys, main, "--config-file", config, *out, "DATASET.TRAIN", "()"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("host", HOSTS)
def test_data_sets_of_a_plugin_are_known(
    tools: Any, tmp_path: Path, root: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the user registers them."""
    config = write_run(tmp_path, root)
    register = (
        "from retina_plugin.data import register_dataset as register\nregister({0!r}, {1!r}, {2!r})"
    )
    if host == "detectron2":
        register = (
            "from detectron2.data.datasets import register_coco_instances as "
            "register\nregister({0!r}, {{}}, {1!r}, {2!r})"
        )
    paths = str(tmp_path / "train/annotations.json"), str(tmp_path / "train/images")
    (tmp_path / f"sets_of_{host}.py").write_text(register.format(f"mine_{host}", *paths))
    monkeypatch.syspath_prepend(str(tmp_path))
    argv = [
        "--config-file",
        config,
        "--source",
        "dataloader",
        "--host",
        host,
        "--output-dir",
        str(tmp_path / "out"),
    ]
    opts = [
        "MODEL.RETINA_PLUGIN.IMPORTS",
        f"['sets_of_{host}']",
        "DATASETS.TRAIN",
        f"('mine_{host}',)",
    ]
    tools["visualize_data"].main([*argv, "--max-images", "1", *opts])
    assert len(pictures(tmp_path / "out")) == 1


# visualize_json_results


def results(name: str, tmp_path: Path, **changes: Any) -> str:
    """Write perfect results for a data set, each with ``changes``."""
    dataset = load_dataset(name)
    entries = [
        {
            "image_id": record["image_id"],
            "category_id": dataset.category_ids[a["category_id"]],
            "bbox": [
                a["bbox"][0],
                a["bbox"][1],
                a["bbox"][2] - a["bbox"][0],
                a["bbox"][3] - a["bbox"][1],
            ],
            "score": 0.75,
            **changes,
        }
        for record in dataset.records
        for a in record["annotations"]
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    return str(path)


def test_results(tools: Any, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = [
        "--input",
        results(scenes, tmp_path),
        "--dataset",
        scenes,
        "--output",
        str(tmp_path / "out"),
    ]
    tools["visualize_json_results"].main(argv)
    found = pictures(tmp_path / "out")
    assert len(found) == 4
    ground_truth, detections = np.split(found["00000_001.jpg"][-320:], [403], axis=1)
    assert ground_truth.shape[1] >= 400 <= detections.shape[1]
    assert "7 of 7 detections reach 50%" in capsys.readouterr().out
    tools["visualize_json_results"].main([*argv, "--conf-threshold", "0.8", "--max-images", "1"])
    printed = capsys.readouterr().out
    assert "1 pictures in" in printed
    assert "0 of 7 detections reach 80%" in printed


def test_results_of_negative_size_are_dropped(
    tools: Any, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = results(scenes, tmp_path)
    entries = json.loads(Path(path).read_text())
    entries[1]["bbox"][2:] = [-5, 4]
    entries[4]["bbox"][2:] = [0, -1e-3]
    Path(path).write_text(json.dumps(entries))
    argv = ["--input", path, "--dataset", scenes, "--output", str(tmp_path / "out")]
    tools["visualize_json_results"].main(argv)
    printed = capsys.readouterr().out
    assert (
        "2 of 7 results have a negative width or height and were dropped (first: entry 1" in printed
    )
    assert "5 of 5 detections reach 50%" in printed
    assert len(pictures(tmp_path / "out")) == 4


def test_images_with_equal_names_are_written_separately(
    tools: Any, scenes: str, tmp_path: Path
) -> None:
    """Data sets with one folder for each day or camera have such names."""
    folder = tmp_path / "scenes"
    content = json.loads((folder / "annotations.json").read_text())
    for image in content["images"]:
        (folder / f"images/{image['id']}").mkdir()
        shutil.move(folder / "images" / image["file_name"], folder / f"images/{image['id']}/a.png")
        image["file_name"] = f"{image['id']}/a.png"
    (folder / "annotations.json").write_text(json.dumps(content))
    argv = [
        "--input",
        results(scenes, tmp_path),
        "--dataset",
        scenes,
        "--output",
        str(tmp_path / "out"),
    ]
    tools["visualize_json_results"].main(argv)
    assert len(pictures(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "train_net.py writes them"),
        ("[{", "is not JSON"),
        ("{}", "expected a list of results, found dict"),
        ('[{"image_id": 1}]', "entry 0 needs image_id, category_id, bbox"),
        ('[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3], "score": 1}]', "entry 0 needs"),
        (
            '[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": "high"}]',
            "entry 0 needs",
        ),
        (
            '[{"image_id": [1], "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]',
            "entry 0 needs",
        ),
        *(
            (
                f'[{{"image_id": 1, "category_id": 3, "bbox": [1, 2, {junk}, 4], "score": 1}}]',
                "entry 0 needs",
            )
            for junk in ("Infinity", "1e19", "1e999", "9" * 400, "true", "NaN")
        ),
        *(
            (
                f'[{{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": {junk}}}]',
                "entry 0 needs",
            )
            for junk in ("Infinity", "1e19", "-0.1", "true", "NaN")
        ),
        *(
            (f'[{{"image_id": {junk}, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}}]', words)
            for junk, words in (
                ("true", "entry 0 needs"),
                ("NaN", "entry 0 needs"),
                ("1e19", "do not belong"),
            )
        ),
        (
            '[{"image_id": 1, "category_id": true, "bbox": [1, 2, 3, 4], "score": 1}]',
            "entry 0 needs",
        ),
        ("[" * 10**5, "is not JSON"),
        (
            '[{"image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]',
            "do not belong to data set",
        ),
    ],
)
def test_mistakes_in_results(
    tools: Any,
    scenes: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    content: str | None,
    words: str,
) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    printed = message(
        capsys, tools["visualize_json_results"].main, "--input", path, "--dataset", scenes
    )
    assert words in printed
    assert str(path) in printed or "annotations.json" in printed


@pytest.mark.parametrize("share", ["50", "-0.1", "much", "nan"])
def test_a_threshold_in_percent_is_refused(
    tools: Any, capsys: pytest.CaptureFixture, share: str
) -> None:
    argv = ("--input", "a", "--dataset", "b", f"--conf-threshold={share}")
    assert "expected a number from 0 to 1" in message(
        capsys, tools["visualize_json_results"].main, *argv
    )


# demo


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Config and checkpoint of a model with detections everywhere: all scores are about 0.5."""
    folder = tmp_path_factory.mktemp("trained")
    few = {"MODEL__RETINANET__TOPK_CANDIDATES_TEST": 20, "TEST__DETECTIONS_PER_IMAGE": 10}
    cfg = compact_cfg(MODEL__RETINANET__NUM_CLASSES=3, MODEL__RETINANET__PRIOR_PROB=0.5, **few)
    (folder / "config.yaml").write_text(cfg.dump())
    names = {"class_names": ["square", "bar", "nothing"]}
    state = compact_model(MODEL__RETINANET__PRIOR_PROB=0.5).state_dict()
    torch.save({"model": state, "metadata": names}, folder / "model.pth")
    return str(folder / "config.yaml"), str(folder / "model.pth")


def demo(tools: Any, trained: tuple[str, str], folder: Path, *argv: object) -> list[dict]:
    """Run the demo and return the content of its JSON."""
    command = ["--config-file", trained[0], "--weights", trained[1], "--output", str(folder)]
    tools["demo"].main([*command, "--confidence-threshold", "0.3", *map(str, argv)])
    return json.loads((folder / "detections.json").read_text())


def write_video(path: Path, *, count: int) -> Path:
    """Write a video of 64 x 48 pixels with 5 frames per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def length(path: Path) -> int:
    """Number of frames that can be read."""
    capture, number = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        number += 1
    capture.release()
    return number


def test_demo_on_files_folders_and_globs(
    tools: Any, trained: tuple[str, str], scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "scenes/images"
    (folder / "notes.txt").write_text("no image, and not looked at")
    # a file that is named itself may have any suffix
    shutil.copy(folder / "001.png", tmp_path / "[1] photo.data")
    words = ("--input", tmp_path / "[1] photo.data", folder, f"{folder}/00[12].*")
    found = demo(tools, trained, tmp_path / "out", *words)
    files = [os.path.basename(entry["file"]) for entry in found]
    assert files == ["[1] photo.data", "001.png", "002.png", "003.png", "004.png"]
    images = tmp_path / "out/pictures/scenes/images"
    assert list(pictures(images)) == ["001.jpg", "002.jpg", "003.jpg", "004.jpg"]
    assert (tmp_path / "out/pictures/[1] photo.jpg").is_file()
    assert found[0]["detections"] == found[1]["detections"]
    for detection in (d for entry in found for d in entry["detections"]):
        assert detection["class"] == ("square", "bar", "nothing")[detection["label"]]
        assert 0.3 <= detection["score"] <= 1
        assert 0 <= detection["box"][0] <= detection["box"][2] <= 80
    printed = capsys.readouterr()
    assert (
        f"{sum(len(entry['detections']) for entry in found)} detections in 5 images" in printed.out
    )
    assert "5/5" in printed.err


def test_demo_on_videos(tools: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", count=4)
    shutil.copy(film, tmp_path / "again.MP4")
    found = demo(
        tools, trained, tmp_path / "out", "--input", film, tmp_path / "again.MP4", "--max-frames", 3
    )
    assert [(os.path.basename(entry["file"]), entry["frame"]) for entry in found] == [
        (name, frame) for name in ("film.mp4", "again.MP4") for frame in range(3)
    ]
    written = sorted(path.name for path in (tmp_path / "out/pictures").iterdir())
    assert written == ["again.mp4", "film.mp4"]
    assert length(tmp_path / "out/pictures/film.mp4") == 3
    assert len(demo(tools, trained, tmp_path / "all", "--input", film)) == 4


def test_ctrl_c_keeps_what_was_found(
    tools: Any, trained: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect, calls = Predictor.predict, []

    def twice(self: Predictor, images: Any) -> Any:
        calls.append(images)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return detect(self, images)

    monkeypatch.setattr(Predictor, "predict", twice)
    with pytest.raises(Interrupted, match="2") as ended:
        demo(
            tools, trained, tmp_path / "out", "--input", write_video(tmp_path / "film.mp4", count=5)
        )
    assert "detections in 2 images" in ended.value.message
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert [entry["frame"] for entry in found] == [0, 1]
    assert length(tmp_path / "out/pictures/film.mp4") == 2
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_demo_on_a_webcam(
    tools: Any, trained: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video instead of a camera, which does not know its number of frames."""
    film, opened, capture = str(write_video(tmp_path / "film.mp4", count=5)), [], cv2.VideoCapture

    class Camera:
        def __init__(self, number: int | str) -> None:
            opened.append(number)
            self.film = capture(film if number == 0 else number)
            self.isOpened, self.read, self.release = (
                self.film.isOpened,
                self.film.read,
                self.film.release,
            )

        def get(self, wanted: int) -> float:
            return -1.0 if wanted == cv2.CAP_PROP_FRAME_COUNT else 0.0

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    clock = count(7.0, 1 / 25)  # the rate of a camera that does not tell it
    monkeypatch.setattr(opencv_reader, "monotonic", lambda: next(clock))
    found = demo(tools, trained, tmp_path / "out", "--webcam", "--max-frames", "2")
    monkeypatch.undo()
    assert opened[0] == 0
    assert [(entry["file"], entry["frame"]) for entry in found] == [
        ("webcam 0", 0),
        ("webcam 0", 1),
    ]
    assert length(tmp_path / "out/pictures/webcam_0.mp4") == 2


def test_demo_skips_unreadable_files(
    tools: Any, trained: tuple[str, str], scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "scenes/images"
    (folder / "002.png").write_bytes(b"broken")
    (folder / "film.mp4").write_bytes(b"broken")
    with pytest.raises(SystemExit) as end:
        demo(tools, trained, tmp_path / "out", "--input", folder)
    assert end.value.code == 1
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert [os.path.basename(entry["file"]) for entry in found] == ["001.png", "003.png", "004.png"]
    printed = capsys.readouterr().err
    assert "failed: image " in printed
    assert "2 of 5 inputs failed" in printed


def test_mistakes_of_demo(
    tools: Any, trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config, weights = trained
    main, out = tools["demo"].main, ("--output", tmp_path / "out")
    model = ("--config-file", config, "--weights", weights)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    assert "nowhere.jpg: there is no such file" in message(
        capsys, main, *model, *out, "--input", "nowhere.jpg"
    )
    assert "*.jpg: no image or video there" in message(
        capsys, main, *model, *out, "--input", f"{tmp_path}/x*.jpg"
    )
    assert "empty: no image or video" in message(
        capsys, main, *model, *out, "--input", tmp_path / "empty"
    )
    assert "no checkpoint: add --weights" in message(
        capsys, main, *model[:2], *out, "--input", tmp_path / "broken.jpg"
    )
    assert "nowhere.pth" in message(
        capsys, main, *model[:3], "nowhere.pth", *out, "--input", tmp_path / "broken.jpg"
    )
    assert not (tmp_path / "out").exists()


def test_names_of_classes_come_from_the_checkpoint_the_data_or_are_numbers(
    tools: Any, trained: tuple[str, str], scenes: str, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.pth"
    torch.save(torch.load(trained[1], weights_only=True)["model"], bare)
    content = json.loads((tmp_path / "scenes/annotations.json").read_text())
    content["categories"].append({"id": 21, "name": "a fourth"})
    (tmp_path / "four.json").write_text(json.dumps(content))
    command = ["--config-file", trained[0], "--input", "a", "--weights"]
    names = {
        where: tools["demo"]
        .load(tools["demo"].parse([*command, str(path), "--opts", *opts]))
        .class_names
        for where, path, opts in (
            ("checkpoint", trained[1], []),
            ("data", bare, ["DATASETS.TEST", f"('{scenes}',)"]),
            ("numbers", bare, ["DATASETS.TEST", "('nowhere.json@images',)"]),
            (
                "data of others",
                bare,
                ["DATASETS.TEST", f"('{tmp_path}/four.json@{tmp_path}/scenes/images',)"],
            ),
        )
    }
    assert names["checkpoint"] == names["data"] == ["square", "bar", "nothing"]
    assert names["numbers"] == names["data of others"] == ["class 0", "class 1", "class 2"]


def test_the_number_of_classes_may_be_left_to_the_checkpoint(
    tools: Any, trained: tuple[str, str], tmp_path: Path
) -> None:
    opts = ["--input", "a", "--opts", "MODEL.RETINANET.NUM_CLASSES", "-1"]
    detector = tools["demo"].load(
        tools["demo"].parse(["--config-file", trained[0], "--weights", trained[1], *opts])
    )
    assert len(detector.class_names) == 3
    bare = tmp_path / "bare.pth"
    torch.save(torch.load(trained[1], weights_only=True)["model"], bare)
    with pytest.raises(
        ValueError,
        match=r"bare\.pth does not name its classes: set MODEL.RETINANET.NUM_CLASSES",
    ):
        tools["demo"].load(
            tools["demo"].parse(["--config-file", trained[0], "--weights", str(bare), *opts])
        )


# plot_losses


def test_figures_without_and_with_a_model(
    tools: Any, trained: tuple[str, str], scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main, out = tools["plot_losses"].main, ["--output", str(tmp_path / "figures")]
    main(out)
    drawn = {"cross_entropy.png", "focal_derivatives.png", "focal_loss.png", "imbalance.png"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == drawn
    model = ["--config-file", trained[0], "--weights", trained[1], "--max-images", "3"]
    main([*out, *model, "DATASETS.TEST", f"('{scenes}',)"])
    assert {path.name for path in (tmp_path / "figures").iterdir()} == drawn | {"loss_shares.png"}
    printed = capsys.readouterr().out
    assert "43.5 : 1  cross entropy" in printed
    assert "background in all loss" in printed


def test_mistakes_of_plot_losses(
    tools: Any, trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main, out = tools["plot_losses"].main, ("--output", tmp_path / "figures")
    assert "need --config-file" in message(capsys, main, *out, "--weights", trained[1])
    assert "no checkpoint: add --weights" in message(
        capsys, main, *out, "--config-file", trained[0]
    )
    assert "DATASETS.TEST is empty" in message(
        capsys, main, *out, "--config-file", trained[0], "--weights", trained[1]
    )
    assert not (tmp_path / "figures").exists()


# all tools


def test_tools_need_no_host(root: Path) -> None:
    """With both hosts blocked, the tools start and print their help without warnings."""
    code = (
        "import contextlib, runpy, sys\n"
        "sys.modules.update(dict.fromkeys(['detectron2', 'lightning']))\n"
        "for name in ('visualize_data', 'visualize_json_results', 'demo', 'plot_losses'):\n"
        "    sys.argv = [name, '--help']\n"
        "    with contextlib.suppress(SystemExit):\n"
        f"        runpy.run_path(f'{root}/tools/{{name}}.py', run_name='__main__')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage:") == 4
    assert result.stderr == ""
