"""``retina predict``: the files that it writes, and what it does with inputs that are broken."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.cli import command
from retina_plugin.cli.predict import describe_thresholds
from retina_plugin.config.disk import DiskError
from retina_plugin.data import load_dataset
from retina_plugin.engine import process
from retina_plugin.inference import video
from retina_plugin.inference.load import load
from retina_plugin.inference.outputs import video_writer
from retina_plugin.inference.outputs.names import OutputNames, safe_part
from retina_plugin.inference.predictor import Predictor
from tests.inference.small_detector import NAMES, write_checkpoint
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "a.pth")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with 001.png, 002.png and 003.png of 64 x 80 or 80 x 64 pixels."""
    write_scenes(tmp_path / "scenes", count=3, seed=0)
    return tmp_path / "scenes/images"


def write_video(path: Path, *, count: int) -> Path:
    """Write a video of 64 x 48 pixels with 5 frames per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def predict(weights: str, out: Path, *words: object, fails: bool = False) -> None:
    """Run the command; with ``fails``, it must end with exit code 1."""
    argv = ["predict", "--weights", weights, "--output", str(out), "--threshold", "0.3"]
    argv += map(str, words)
    if not fails:
        command.main(argv)
        return
    with pytest.raises(SystemExit) as end:
        process.run(lambda: command.main(argv))
    assert end.value.code == 1


def error(capsys: pytest.CaptureFixture, *argv: object) -> str:
    """The line of an error with exit code 2."""
    with pytest.raises(SystemExit) as end:
        process.run(lambda: command.main(["predict", *map(str, argv)]))
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def names_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_everything_that_can_be_saved(weights: str, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kinds = ("pictures", "json", "csv", "coco", "yolo", "crops")
    predict(weights, out, "--input", images, "--save", *kinds)
    entries = json.loads((out / "detections.json").read_text())
    assert [os.path.basename(entry["file"]) for entry in entries] == [
        "001.png",
        "002.png",
        "003.png",
    ]
    boxes = [(entry["file"], box) for entry in entries for box in entry["detections"]]
    with open(out / "detections.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["file"], r["class"], float(r["x0"]), float(r["score"])) for r in rows] == [
        (file, box["class"], box["box"][0], box["score"]) for file, box in boxes
    ]
    coco = load_dataset(f"{out}/coco.json@{images}")
    assert coco.class_names == tuple(NAMES)
    yolo_boxes = sum(len(p.read_text().splitlines()) for p in (out / "labels").iterdir())
    crops = [p for p in (out / "crops").rglob("*.jpg")]
    assert len(crops) == yolo_boxes == len(boxes) > 20
    assert (out / "classes.txt").read_text().split() == NAMES
    assert names_below(out / "pictures") == ["001.jpg", "002.jpg", "003.jpg"]
    assert not [name for name in names_below(out) if ".part" in name]


def test_coco_and_yolo_are_read_as_data_sets(weights: str, images: Path, tmp_path: Path) -> None:
    """Both have the same boxes; YOLO's are rounded."""
    out = tmp_path / "out"
    predict(weights, out, "--input", images, "--save", "yolo")
    assert names_below(out) == ["classes.txt", *(f"labels/00{i}.txt" for i in (1, 2, 3))]
    predict(weights, tmp_path / "other", "--input", images, "--save", "coco")
    shutil.copytree(images, out / "images")
    coco, yolo = load_dataset(f"{tmp_path}/other/coco.json@{images}"), load_dataset(str(out))
    for one, other in zip(coco.records, yolo.records, strict=True):
        assert len(one["annotations"]) == len(other["annotations"])
        for a, b in zip(one["annotations"], other["annotations"], strict=True):
            assert a["category_id"] == b["category_id"]
            np.testing.assert_allclose(a["bbox"], b["bbox"], atol=1e-3)


def test_one_broken_input_costs_one_line(
    weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (images / "002.png").write_bytes(b"broken")
    (images / "empty.jpg").touch()
    (images / "film.mp4").write_bytes(b"broken")
    strip = np.random.default_rng(0).integers(0, 256, (8, 3000, 3), dtype=np.uint8)
    Image.fromarray(strip).save(images / "strip.png")
    predict(weights, tmp_path / "out", "--input", images, fails=True)
    printed = capsys.readouterr()
    failed = [line for line in printed.err.splitlines() if "failed: " in line]
    assert len(failed) == 3
    for name in ("002.png", "empty.jpg", "film.mp4"):
        assert sum(name in line for line in failed) == 1
    assert "3 of 6 inputs failed" in printed.err
    assert "images/s" in printed.out
    assert names_below(tmp_path / "out") == [
        "detections.json",
        "pictures/001.jpg",
        "pictures/003.jpg",
        "pictures/strip.jpg",
    ]


def test_images_with_one_name_do_not_overwrite_each_other(
    weights: str, images: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(images / "001.png", tmp_path / folder / "1.png")
    Image.open(images / "002.png").save(tmp_path / "a/1.jpg")
    out = tmp_path / "out"
    predict(weights, out, "--input", tmp_path / "a", tmp_path / "b", "--save", "pictures", "yolo")
    expected = {"a/1", "a/1.2", "b/1"}
    assert set(names_below(out / "pictures")) == {f"{name}.jpg" for name in expected}
    assert set(names_below(out / "labels")) == {f"{name}.txt" for name in expected}


def test_results_are_not_read_again(weights: str, images: Path) -> None:
    """If the output folder is among the inputs, its files are left out."""
    for _ in range(2):
        predict(weights, images / "found", "--input", f"{images}/**")
        entries = json.loads((images / "found/detections.json").read_text())
        assert len(entries) == 3


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["x/a.jpg"], ["a"]),
        (["x/a.jpg", "y/a.jpg"], ["x/a", "y/a"]),
        (["x/a.jpg", "x/a.png", "x/A.gif"], ["a", "a.2", "A.3"]),
        (["x/a.jpg", "x/deep/b.jpg"], ["a", "deep/b"]),
        ([0, "x/a.mp4"], ["webcam_0", "a"]),
        (["x/a:b?.jpg"], ["a_b_"]),
        ([f"x/{'é' * 200}.jpg"], ["é" * 90]),
        ([0], ["webcam_0"]),
    ],
)
def test_names_of_outputs(sources: list[Any], expected: list[str]) -> None:
    names = OutputNames(sources)
    assert [names.of(source) for source in sources] == expected


def test_a_frame_has_not_the_name_of_an_image() -> None:
    """As where the frames of a video lie beside it."""
    names = OutputNames(["film.mp4", "film_000001.jpg", "other.mp4"])
    assert names.of("film.mp4", 1) == "film.2_000001"
    assert names.of("film_000001.jpg") == "film_000001"
    assert names.of("other.mp4", 1) == "other_000001"


def test_a_threshold_without_effect(weights: str) -> None:
    """The model drops scores below 0.05 before."""
    detector = load(weights)
    assert describe_thresholds(detector, 0.3) == "score threshold: 0.3 for all classes"
    assert "a threshold below 0.05 has no effect" in describe_thresholds(detector, 0.01)


def test_stored_thresholds_always_have_an_effect(tmp_path: Path) -> None:
    """The model keeps detections down to the lowest one."""
    path = write_checkpoint(tmp_path / "low.pth", score_thresholds={"square": 0.01})
    assert "no effect" not in describe_thresholds(load(path))


def test_different_class_names_have_different_folders(tmp_path: Path, images: Path) -> None:
    names = ["a/b", "a:b", "A/B"]
    weights = write_checkpoint(tmp_path / "a.pth", class_names=names)
    out = tmp_path / "out"
    predict(weights, out, "--input", images, "--save", "crops", "yolo", "csv")
    with open(out / "detections.csv", encoding="utf-8", newline="") as file:
        found = Counter(row["class"] for row in csv.DictReader(file))
    folders = ("a_b", "a_b.2", "A_B.3")
    numbers = [len(names_below(out / "crops" / folder)) for folder in folders]
    assert numbers == [found[name] for name in names]
    assert sum(number > 0 for number in numbers) > 1
    assert (out / "classes.txt").read_text().splitlines() == ["a/b", "a:b", "A/B.2"]


def test_parts_of_paths() -> None:
    table = {"a/b": "a_b", "..": "_", "": "_", "a. ": "a_", "a\nb": "a_b", "ok": "ok"}
    table["\udcff"] = "_"
    assert {text: safe_part(text) for text in table} == table


# ------------------------------------------------------------------------------------------- videos


@pytest.mark.parametrize("has_av", [True, False])
def test_videos(
    weights: str,
    tmp_path: Path,
    has_av: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The same number of frames at the same rate; H.264 if PyAV is installed."""
    if has_av:
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(video_writer, "import_av", lambda: None)
        monkeypatch.setattr(video, "import_av", lambda: None)
        video_writer._tell_codec.cache_clear()
    film = write_video(tmp_path / "film.mp4", count=4)
    kinds = ("--save", "pictures", "json", "coco", "yolo")
    predict(weights, tmp_path / "out", "--input", film, *kinds)
    written = cv2.VideoCapture(str(tmp_path / "out/pictures/film.mp4"))
    assert [written.get(k) for k in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)] == [5, 4]
    code = int(written.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert code == (b"h264" if has_av else b"FMP4")
    assert ("written as mp4v" in capsys.readouterr().out) == (not has_av)
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert [(entry["frame"], entry["time"]) for entry in entries] == [
        (0, 0.0), (1, 0.2), (2, 0.4), (3, 0.6),
    ]  # fmt: skip
    coco = json.loads((tmp_path / "out/coco.json").read_text())
    assert coco["images"][3]["file_name"] == "film_000003.jpg"
    assert len(list((tmp_path / "out/labels").iterdir())) == 4


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_share_batches(
    weights: str, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def note(self: Predictor, images: list) -> list:
        sizes.append(len(images))
        return predict_images(self, images)

    predict_images = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", note)
    film = write_video(tmp_path / "film.mp4", count=4)
    predict(weights, tmp_path / "out", "--input", film, "--save", "json", "--batch", batch)
    assert sizes == ([1] * 4 if batch == 1 else [3, 1])
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3]


@pytest.mark.parametrize("shows_window", [True, False])
def test_frames_with_odd_sides_get_another_row_and_column(
    tmp_path: Path, shows_window: bool
) -> None:
    if not shows_window:
        pytest.importorskip("av")
    path = str(tmp_path / "a.mp4")
    writer = video_writer.open_video_writer(path, 29.97, (47, 63), shows_window=shows_window)
    frame = np.zeros((47, 63, 3), np.uint8)
    frame[:, -20:], frame[-20:] = (250, 0, 0), (250, 0, 0)  # red
    for _ in range(3):
        writer.write(frame)
    writer.write(np.zeros((20, 30, 3), np.uint8))  # some videos change their size
    assert not os.path.exists(path)
    writer.close()
    written = cv2.VideoCapture(path)
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, abs=0.01)
    found = written.read()[1]
    assert found.shape == (48, 64, 3)
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    np.testing.assert_allclose(found[-1, -1], (0, 0, 250), atol=12)  # BGR
    assert os.listdir(tmp_path) == ["a.mp4"]


class ShortCapture:
    """A video whose header claims 100 frames, and that has ``count``."""

    count = 3

    def __init__(self, source: str) -> None:
        self.left = self.count

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 100.0 if key == cv2.CAP_PROP_FRAME_COUNT else 10.0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, np.zeros((48, 64, 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("count", "words", "frames"),
    [(3, "ends after 0.3 of 10.0 seconds", 3), (0, "has no frame that can be read", 0)],
)
def test_a_video_that_ends_early_or_has_no_frames(
    weights: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    count: int,
    words: str,
    frames: int,
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    monkeypatch.setattr(video, "import_av", lambda: None)
    monkeypatch.setattr(ShortCapture, "count", count)
    monkeypatch.setattr(cv2, "VideoCapture", ShortCapture)
    inputs = ("--input", tmp_path / "film.mp4", images / "001.png")
    predict(weights, tmp_path / "out", *inputs, "--save", "json", fails=True)
    assert words in capsys.readouterr().err
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert len(entries) == frames + 1


# ----------------------------------------------------------------------------------------- mistakes


def test_an_absent_webcam(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShortCapture, "isOpened", lambda self: False)
    monkeypatch.setattr(cv2, "VideoCapture", ShortCapture)
    predict(weights, tmp_path / "out", "--input", "7", fails=True)
    assert (
        "failed: webcam 7 cannot be opened as a video: is it connected" in capsys.readouterr().err
    )
    assert json.loads((tmp_path / "out/detections.json").read_text()) == []


def test_mistakes(
    weights: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    one = ("--weights", weights, "--input", images / "001.png", "--output")
    table: dict[str, tuple[object, ...]] = {
        "nowhere: there is no such file": ("--weights", weights, "--input", "nowhere"),
        "no checkpoint at": ("--weights", "nowhere.pth", *one[2:4]),
        "--output": (*one, tmp_path / "file"),
        "invalid choice: 'xml'": (*one, tmp_path / "out", "--save", "xml"),
        "expected a number from 0 to 1": (*one, tmp_path / "out", "--threshold", "50"),
        "unknown key": (*one, tmp_path / "out", "--opts", "INPUT.MIN_SIZE_TESTS", "3"),
        "found --threshold: put it before --opts": (*one, "out", "--opts", "--threshold", "0.3"),
        "required: --weights, --input": (),
    }
    for words, argv in table.items():
        assert words in error(capsys, *argv)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "--show: this machine has no screen" in error(capsys, *one, tmp_path / "out", "--show")
    monkeypatch.setenv("DISPLAY", ":987")  # OpenCV would end the process
    assert "--show: " in error(capsys, *one, tmp_path / "out", "--show")
    assert not (tmp_path / "out").exists()
    photo = Image.open(images / "001.png")
    (tmp_path / "out/pictures").mkdir(parents=True)
    photo.convert("RGB").save(tmp_path / "out/pictures/a.jpg")
    before = (tmp_path / "out/pictures/a.jpg").read_bytes()
    own = ("--weights", weights, "--input", tmp_path / "out/pictures/a.jpg")
    assert "is an input: choose another --output" in error(
        capsys, *own, "--output", tmp_path / "out"
    )
    assert (tmp_path / "out/pictures/a.jpg").read_bytes() == before


def test_images_of_more_bits(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A model of 8-bit images needs a range, which the message names."""
    path = tmp_path / "deep.png"
    Image.fromarray(np.arange(64 * 80, dtype=np.uint16).reshape(64, 80) * 12).save(path)
    predict(weights, tmp_path / "out", "--input", path, fails=True)
    error = capsys.readouterr().err
    key = "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE"
    assert "is a 16-bit gray PNG, and the model was trained on 8-bit images" in error
    assert f"--opts {key} '[0, 65535]'" in error
    inputs = ("--input", path, "--opts", key)
    predict(weights, tmp_path / "out", *inputs, "[0, 65535]")
    with pytest.warns(UserWarning, match=r"deep\.png is one shade"):
        predict(weights, tmp_path / "out", *inputs, "[100000, 200000]")


def test_a_full_disk_leaves_no_incomplete_file(
    weights: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retina_plugin.inference.outputs import folders

    calls = []

    def write_image(path: str, image: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise DiskError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(folders, "write_image", write_image)
    with pytest.raises(DiskError, match="No space left"):
        predict(weights, tmp_path / "out", "--input", images, "--save", "json", "csv", "pictures")
    assert names_below(tmp_path / "out") == []
