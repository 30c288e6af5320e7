"""``retina_plugin.load`` and what a detector takes and returns."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import retina_plugin
from retina_plugin.checkpoint import WeightsError
from retina_plugin.cli import command
from retina_plugin.config import ConfigError
from retina_plugin.data import DatasetError, load_dataset, read_image
from retina_plugin.inference.detector import Detector
from retina_plugin.inference.result import Result
from retina_plugin.modeling.structures import Detections
from tests.inference.small_detector import NAMES, write_checkpoint
from tests.scenes import write_run, write_scenes

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint ``a.pth`` and images in ``images``."""
    folder = tmp_path_factory.mktemp("detector")
    write_checkpoint(folder / "a.pth", score_thresholds={"square": 0.25, "bar": 0.75})
    write_scenes(folder, count=3, seed=0)
    return folder


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return retina_plugin.load(folder / "a.pth")


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[str]:
    return [str(path) for path in sorted((folder / "images").iterdir())]


def assert_same(found: Detections, expected: Detections) -> None:
    assert_close(dict(found), dict(expected), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    "form",
    [
        lambda path, rgb: path,
        lambda path, rgb: Path(path),
        lambda path, rgb: Image.open(path),
        lambda path, rgb: rgb,
        lambda path, rgb: torch.from_numpy(rgb.copy()).permute(2, 0, 1),
    ],
)
def test_one_image_in_one_result_out(detector: Detector, paths: list[str], form: Any) -> None:
    rgb = read_image(paths[0])
    found, expected = detector(form(paths[0], rgb)), detector(rgb)
    assert isinstance(found, Result)
    assert len(found["scores"]) > 3
    assert_same(found, expected)
    assert found.size == (64, 80)
    np.testing.assert_array_equal(found.image, rgb)


def test_lists_have_a_result_for_each_image(detector: Detector, paths: list[str]) -> None:
    found = detector([paths[0], read_image(paths[1]), Image.open(paths[2])])
    assert isinstance(found, list)
    for one, path in zip(found, paths, strict=True):
        assert_same(one, detector(path))
    assert [x.source for x in found] == [paths[0], "", ""]
    assert len(detector((paths[0],))) == 1
    assert detector([]) == []


def test_folders_and_globs_give_generators(
    detector: Detector, paths: list[str], folder: Path, tmp_path: Path
) -> None:
    for many in (folder / "images", f"{folder}/images/*.png", f"{folder}/**/*.png"):
        found = detector(many)
        assert iter(found) is found
        assert [x.source for x in found] == paths
    shutil.copy(paths[0], tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"skipped: image .*b\.png cannot be read"):
        assert len(list(detector(tmp_path))) == 1
    (tmp_path / "a.png").unlink()
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(DatasetError, match=r"b\.png"):
        list(detector(tmp_path))


def test_mistakes_in_sources_are_errors_at_the_call(detector: Detector, folder: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: there is no such file or folder"):
        detector("nowhere")
    with pytest.raises(DatasetError, match="no image or video there"):
        detector(f"{folder}/*.txt")
    with pytest.raises(ValueError, match="must be given alone, not in a list"):
        detector([folder / "images"])
    with pytest.raises(ValueError, match="found dict"):
        detector({})
    with pytest.raises(ValueError, match="found bool"):
        detector(True)
    with pytest.raises(ValueError, match="image 1 of the list: expected a path"):
        detector([np.zeros((8, 8, 3), np.uint8), None])
    with pytest.raises(ValueError, match="category_ids: expected 3, one for each class, found 1"):
        detector(np.zeros((8, 8, 3), np.uint8)).to_coco(category_ids=[7])


def test_a_video_gives_its_frames(detector: Detector, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for shade in (0, 100, 200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    found = list(detector(path))
    assert [(x.source, x.frame, x.size) for x in found] == [(path, i, (48, 64)) for i in range(3)]
    assert [int(x.image.mean().round(-2)) for x in found] == [0, 100, 200]
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"broken\.mp4 cannot be opened as a video"):
        list(detector(str(tmp_path / "broken.mp4")))


def test_batches_give_the_same_within_rounding(folder: Path, paths: list[str]) -> None:
    alone, batched = (retina_plugin.load(folder / "a.pth", batch_size=n) for n in (1, 3))
    for one, other in zip(alone([*paths, paths[0]]), batched([*paths, paths[0]]), strict=True):
        assert_close(dict(one), dict(other), rtol=1e-4, atol=1e-2)
    assert [x.source for x in batched(folder / "images")] == paths


# --------------------------------------------------------------------------------------- thresholds


def test_detections_are_kept_down_to_the_lowest_threshold(tmp_path: Path) -> None:
    """Also below SCORE_THRESH_TEST, which is 0.05."""
    path = write_checkpoint(tmp_path / "low.pth", score_thresholds={"square": 0.01, "bar": 0.5})
    low = retina_plugin.load(path).predictor.model.postprocessor.score_threshold
    assert low == pytest.approx(0.01, rel=0.02)
    assert low < 0.01
    kept = retina_plugin.load(path, overrides=["MODEL.RETINANET.SCORE_THRESH_TEST", 0.3])
    assert kept.predictor.least_score == 0.3  # the value that was given
    path = write_checkpoint(tmp_path / "high.pth", score_thresholds={"square": 0.5})
    assert retina_plugin.load(path).predictor.model.postprocessor.score_threshold == 0.05


def test_thresholds_of_classes(detector: Detector, paths: list[str]) -> None:
    assert detector.thresholds == {"square": 0.25, "bar": 0.75, "nothing": 0.5}
    assert detector.limits(None).tolist() == [0.25, 0.75, 0.5]
    everything, kept = detector(paths[0], threshold=0), detector(paths[0])
    least = torch.tensor([0.25, 0.75, 0.5])[everything["labels"]]
    assert 0 < len(kept["scores"]) < len(everything["scores"])
    expected = everything["scores"] >= least
    assert_same(kept, {name: value[expected] for name, value in everything.items()})
    highest = float(everything["scores"][0])
    assert detector(paths[0], threshold=highest)["scores"].tolist() == [highest]
    for wrong in (-0.1, 1.1, float("nan"), "0.5", [0.5], True):
        with pytest.raises(ValueError, match="threshold: expected a number from 0 to 1"):
            detector(paths[0], threshold=wrong)


# -------------------------------------------------------------------------------------------- load


def test_configs_of_checkpoints(folder: Path, tmp_path: Path) -> None:
    """The stored config, ``config.yaml`` beside a checkpoint, one that is given; overrides last."""
    detector = retina_plugin.load(folder / "a.pth", overrides=["INPUT.MIN_SIZE_TEST", 32])
    assert detector.predictor.cfg.INPUT.MIN_SIZE_TEST == 32
    content = torch.load(folder / "a.pth", weights_only=True)
    del content["metadata"]["config"]
    torch.save(content, tmp_path / "old.pth")
    with pytest.raises(ConfigError, match=r"old\.pth has no config, and there is no config\.yaml"):
        retina_plugin.load(tmp_path / "old.pth")
    text = detector.predictor.cfg.dump()
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    given = retina_plugin.load(tmp_path / "old.pth", config_file=str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").rename(tmp_path / "config.yaml")
    beside = retina_plugin.load(tmp_path / "old.pth")
    assert given.class_names == beside.class_names == NAMES
    assert beside.predictor.cfg.INPUT.MIN_SIZE_TEST == 32


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"config": 7}, "expected {key: value} as config"),
        ({"config": {7: 1}}, "expected {key: value} as config"),
        ({"score_thresholds": [0.5]}, "expected {class name: score}"),
        ({"score_thresholds": {"square": 7.0}}, "expected {class name: score}"),
        ({"class_names": "text"}, "expected a list of texts as class_names"),
    ],
)
def test_broken_metadata(tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        retina_plugin.load(write_checkpoint(tmp_path / "a.pth", **metadata))


def test_mistakes_in_load(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no checkpoint at .*nowhere\.pth"):
        retina_plugin.load(tmp_path / "nowhere.pth")
    with pytest.raises(ConfigError, match=r"has no config\.yaml: expected the folder of a run"):
        retina_plugin.load(tmp_path)
    with pytest.raises(ValueError, match="batch_size: expected at least 1"):
        retina_plugin.load(folder / "a.pth", batch_size=0)


# ------------------------------------------------------------------------------------------ results


def test_results_are_what_supervision_reads(detector: Detector, paths: list[str]) -> None:
    supervision = pytest.importorskip("supervision")
    found = detector(paths[0])
    read = supervision.Detections.from_transformers(found, dict(enumerate(found.class_names)))
    np.testing.assert_array_equal(read.xyxy, found["boxes"])
    np.testing.assert_array_equal(read.confidence, found["scores"])
    np.testing.assert_array_equal(read.class_id, found["labels"])


def test_tables_of_results(detector: Detector, paths: list[str]) -> None:
    pytest.importorskip("pandas")
    found = detector(paths[0])
    table = found.to_pandas()
    assert list(table.columns) == ["x0", "y0", "x1", "y1", "score", "label", "class"]
    np.testing.assert_array_equal(table[["x0", "y0", "x1", "y1"]], found["boxes"])
    assert list(table["class"]) == found.names
    nothing = detector(paths[0], threshold=1)
    assert len(nothing.to_pandas()) == 0
    assert nothing.to_coco() == []


def test_pandas_is_optional(
    detector: Detector, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from retina_plugin.inference import result

    result._pandas.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        detector(paths[0]).to_pandas()


def test_a_picture_needs_the_ending_of_an_image(
    detector: Detector, paths: list[str], tmp_path: Path
) -> None:
    for name in ("found", "found.txt"):
        with pytest.raises(ValueError, match="expected the ending of an image"):
            detector(paths[0]).save(str(tmp_path / name))
    for name in ("found.jpg", "found.JPG"):
        detector(paths[0]).save(str(tmp_path / name))
    assert (tmp_path / "found.jpg").read_bytes() == (tmp_path / "found.JPG").read_bytes()


def test_drawings_of_results(detector: Detector, paths: list[str], tmp_path: Path) -> None:
    found = detector(paths[0])
    drawn = found.plot()
    assert drawn.shape == (64, 80, 3)
    assert (drawn != found.image).any()
    assert (detector(paths[0], threshold=1).plot() == found.image).all()
    found.save(str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= 300
    again = pickle.loads(pickle.dumps(found))
    assert_same(again, found)
    assert again.names == found.names


def test_results_of_files_can_forget_their_image(detector: Detector, paths: list[str]) -> None:
    found = detector(paths[0])
    found.release_image()
    assert found._image is None
    np.testing.assert_array_equal(found.image, read_image(paths[0]))


# ----------------------------------------------------------------------------------- as evaluations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "views"),
    [*((host, []) for host in HOSTS), ("lightning", ["MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE", "48"])],
)
def test_a_detector_finds_what_an_evaluation_finds(
    host: str, views: list[str], tmp_path: Path, root: Path
) -> None:
    """Equal boxes and scores, from the run folder, and from a checkpoint that has left it."""
    config = write_run(tmp_path, root)
    few = ["SOLVER.MAX_ITER", "2", "MODEL.RETINANET.PRIOR_PROB", "0.4"]
    few += ["TEST.DETECTIONS_PER_IMAGE", "20", *views]
    command.main(["train", "--config-file", config, "--host", host, *few])
    out = tmp_path / "out"
    results = json.loads((out / "inference/coco_instances_results.json").read_text())
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(out / "model_final.pth", tmp_path / "elsewhere/mine.pth")
    records = load_dataset(f"{tmp_path}/test/annotations.json@{tmp_path}/test/images")
    for source in (out, moved):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            detector = retina_plugin.load(source)
        found = [
            entry
            for record in records.records
            for entry in detector(record["file_name"], threshold=0).to_coco(
                record["image_id"], category_ids=records.category_ids
            )
        ]
        assert len(found) == len(results) > 50
        for one, other in zip(found, results, strict=True):
            assert one["category_id"] == other["category_id"]
            assert one["image_id"] == other["image_id"]
        assert [x["score"] for x in found] == [x["score"] for x in results]
        assert_close([x["bbox"] for x in found], [x["bbox"] for x in results], rtol=0, atol=0)


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError("too much"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_an_image_that_needs_too_much_memory_costs_one_image(
    folder: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    """The other images of its batch are done."""
    detector = retina_plugin.load(folder / "a.pth", batch_size=3)
    predict = detector.predictor.predict

    def refuse_tall_images(images: list[torch.Tensor]) -> list[Detections]:
        if any(image.shape[1] == 80 for image in images):  # the third image
            raise raised
        return predict(images)

    monkeypatch.setattr(detector.predictor, "predict", refuse_tall_images)
    first, second, failure = detector.detect_files(paths, detector.limits(None))
    assert (first.source, second.source) == tuple(paths[:2])
    assert failure.source == paths[2]
    assert failure.message.startswith(f"{paths[2]}: memory ran out: ")


def test_errors_of_the_program_are_not_hidden(
    folder: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = retina_plugin.load(folder / "a.pth", batch_size=2)

    def broken(images: list[torch.Tensor]) -> list[Detections]:
        raise KeyError("a bug")

    monkeypatch.setattr(detector.predictor, "predict", broken)
    with pytest.raises(KeyError, match="a bug"):
        list(detector.detect_files(paths, detector.limits(None)))
