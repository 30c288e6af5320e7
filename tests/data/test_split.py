"""Splits: by class, by group, copies, rare classes, tiny data sets, order of files."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import Dataset, DatasetError, load_dataset
from retina_plugin.data.coco_file import write_coco_file
from retina_plugin.data.image_units import connect, group_names, relative_names
from retina_plugin.data.near_copies import near_copies
from retina_plugin.data.split import split_dataset
from retina_plugin.data.stratify import stratify
from retina_plugin.data.thumbnails import read_thumbnail


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A smooth random image: copies of it in another quality are near-copies."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def dataset(folder, classes, names=None, *, num_classes=None, seeds=None) -> Dataset:
    """A data set with one image for each entry of ``classes``, the classes of its boxes."""
    names = names or [f"{i:03d}.png" for i in range(len(classes))]
    records = []
    for i, (name, labels) in enumerate(zip(names, classes, strict=True)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i if seeds is None else seeds[i]).save(path)
        records.append(
            {
                "file_name": str(path),
                "image_id": i,
                "height": 48,
                "width": 64,
                "annotations": [
                    {
                        "id": 100 * i + j,
                        "bbox": [1.1 + j, 2.3, 20.7 + j, 30.9],
                        "category_id": label,
                        "iscrowd": 0,
                        "area": 500.0,
                    }
                    for j, label in enumerate(labels)
                ],
            }
        )
    k = num_classes or 1 + max((label for labels in classes for label in labels), default=0)
    names = tuple(f"class{i}" for i in range(k))
    return Dataset("d", "d.json", str(folder), names, tuple(range(1, k + 1)), records)


def classes_of(data: Dataset, indices) -> list[int]:
    return sorted({a["category_id"] for i in indices for a in data.records[i]["annotations"]})


@pytest.mark.parametrize(
    ("classes", "fraction", "validation"),  # images of each class, the last without boxes
    [
        pytest.param([[0]] * 10, 0.2, [2, 0], id="one class"),
        pytest.param([[0]] * 8 + [[1]] * 2, 0.2, [2, 1, 0], id="two images of a rare class"),
        pytest.param([[0]] * 9 + [[1]], 0.2, [2, 0, 0], id="one image of a rare class"),
        pytest.param([[0]] * 5 + [[]] * 5, 0.2, [1, 1], id="half without boxes"),
        pytest.param([[0], [0]], 0.2, [1, 0], id="two images"),
        pytest.param([[0], [0], []], 0.2, [1, 0], id="three images"),
        pytest.param([[0, 1]] * 30, 0.1, [3, 3, 0], id="thirty images"),
        pytest.param([[0], [0]], 0.9, [1, 0], id="training keeps an image"),
    ],
)
def test_number_of_validation_images_of_each_class(tmp_path, classes, fraction, validation):
    data = dataset(tmp_path, classes)
    for seed in range(3):
        split = split_dataset(data, fraction=fraction, seed=seed)
        assert sorted(split.training + split.validation) == list(range(len(classes)))
        chosen = [classes[i] for i in split.validation]
        counts = [sum(k in labels for labels in chosen) for k in range(data.num_classes)]
        assert [*counts, sum(not labels for labels in chosen)] == validation
        assert classes_of(data, split.training) == list(range(data.num_classes))


def test_two_hundred_classes_of_two_to_five_images(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(200), rng.integers(2, 6, 200))
    counts = np.eye(200)[labels]
    second = stratify(counts, np.ones(len(labels)), fraction=0.2, rng=rng)
    assert (counts[~second].sum(0) > 0).all()
    assert second.sum() <= 1.5 * 0.2 * len(labels)


@pytest.mark.parametrize("empty", [0, 5])
def test_every_image_has_the_only_box_of_a_class(tmp_path, empty):
    """Class 18 is in three images, all other classes in one."""
    classes = [[2 * i, 2 * i + 1] for i in range(8)] + [[16, 18], [17, 18], [19, 18]]
    data = dataset(tmp_path, classes + [[]] * empty)
    split = split_dataset(data, fraction=2 / len(data.records), seed=0)
    lost = set(range(20)) - set(classes_of(data, split.training))
    assert len(lost) == 2
    assert lost < {16, 17, 19}
    assert "2 of 20 classes have one image or group, which is used for validation: " in str(
        split.notes
    )


def test_classes_that_share_images_are_on_both_sides():
    # unit -> classes; class 2 must not lose both of its units to the second side
    counts = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]])
    for seed in range(20):
        second = stratify(counts, np.ones(4), fraction=0.4, rng=np.random.default_rng(seed))
        assert (counts[~second].sum(0) > 0).all()
        assert (counts[second].sum(0) > 0).all()


def test_groups_stay_together(tmp_path):
    names = [f"site{i % 6}/frame{i}.png" for i in range(30)]
    data = dataset(tmp_path, [[0]] * 30, names)
    split = split_dataset(data, fraction=0.2, seed=1, group_by="^(site[0-9])/")
    sites = {re.match("site.", names[i])[0] for i in split.validation}
    assert len(split.validation) == 5
    assert len(sites) == 1
    assert "6 groups by '^(site[0-9])/'" in split.notes[0]


def test_copies_stay_together(tmp_path):
    seeds = [i // 2 for i in range(20)]  # pairs of equal files
    data = dataset(tmp_path, [[0]] * 20, seeds=seeds)
    for i in range(0, 20, 4):  # a copy of lower quality
        path = tmp_path / f"{i}.jpg"
        picture(seeds[i]).save(path, quality=80)
        data.records[i]["file_name"] = str(path)
    split = split_dataset(data, fraction=0.3, seed=0)
    assert len(split.validation) == 6
    assert all((i ^ 1) in split.validation for i in split.validation)
    assert "20 images are copies or near-copies of others (10 sets)" in split.notes[1]


def test_the_order_of_files_does_not_matter(tmp_path):
    data = dataset(tmp_path, [[i % 3] for i in range(24)])
    chosen = []
    for seed in (0, 0, 1):
        order = np.random.default_rng(len(chosen)).permutation(24)
        shuffled = Dataset(
            "d", "", "", data.class_names, data.category_ids, [data.records[i] for i in order]
        )
        split = split_dataset(shuffled, fraction=0.25, seed=seed)
        chosen.append({shuffled.records[i]["file_name"] for i in split.validation})
    assert chosen[0] == chosen[1] != chosen[2]


def test_notes(tmp_path):
    names = ["a_1.png", "a_2.png", "b_1.png", "b_2.png", "c_1.png", "other.png"]
    data = dataset(tmp_path, [[0]] * 5 + [[1]], names)
    notes = "\n".join(split_dataset(data, fraction=0.3, seed=0, group_by="^(.)_").notes)
    assert "1 file names have no group" in notes
    assert "1 of 2 classes have too few images or groups for the validation images: class1" in notes
    assert "differences of a few AP are noise" in notes


@pytest.mark.parametrize(
    ("classes", "seeds", "pattern", "message"),
    [
        pytest.param([[0], [], []], None, "", "1 of 3 images have boxes: no validation", id="one"),
        pytest.param([[], []], None, "", "0 of 2 images have boxes", id="none"),
        pytest.param([[0], [0]], [1, 1], "", "copies of each other: no validation", id="copies"),
        pytest.param([[0], [0]], None, "00", "one group of '00', or copies", id="one group"),
        pytest.param([[0], [0]], None, "x(", "'x(' is not a regular expression", id="pattern"),
        pytest.param([[0], [0]], None, "x", "'x' matches none of 2 file names", id="no match"),
    ],
)
def test_data_that_cannot_be_split(tmp_path, classes, seeds, pattern, message):
    data = dataset(tmp_path, classes, seeds=seeds)
    with pytest.raises(DatasetError, match=re.escape(message)):
        split_dataset(data, fraction=0.2, seed=0, group_by=pattern)


def test_group_names_and_units():
    names = relative_names(["/d/x/a1.png", "/d/y/a2.png"])
    assert names == ["x/a1.png", "y/a2.png"]
    assert group_names(names, "a.") == ["a1", "a2"]
    assert group_names(names, "(.)1") == ["a", None]
    assert connect([["a"], ["b"], [], ["b", "c"], ["c"]]) == [0, 1, 2, 1, 1]


def test_thumbnails_of_unusual_files(tmp_path):
    flat, deep, cut = (str(tmp_path / name) for name in ("flat.png", "deep.png", "cut.jpg"))
    Image.new("RGB", (50, 40), (7, 7, 7)).save(flat)
    Image.fromarray(np.asarray(picture(0).convert("L")).astype(np.uint16) * 100).save(deep)
    picture(0).save(cut)
    os.truncate(cut, os.path.getsize(cut) - 60)
    assert read_thumbnail(flat).grey is None
    assert (read_thumbnail(flat).low, read_thumbnail(flat).high) == (7, 7)
    picture(0).save(tmp_path / "eight_bits.png")
    eight_bits = read_thumbnail(str(tmp_path / "eight_bits.png"))
    assert near_copies([read_thumbnail(deep).grey, eight_bits.grey]) == [(0, 1)]
    assert "truncated" in read_thumbnail(cut).error
    assert read_thumbnail(str(tmp_path / "no.png")).error == "there is no such file"


def test_thumbnail_of_a_rotated_image(tmp_path):
    upright, rotated = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    picture(3).save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees
    picture(3).transpose(Image.Transpose.ROTATE_90).save(rotated, exif=exif)
    assert near_copies([read_thumbnail(path).grey for path in (upright, rotated)]) == [(0, 1)]


def test_written_file_reads_back(tmp_path):
    data = dataset(tmp_path / "images", [[0], [1, 0], [], [1]])
    data.records[1]["annotations"][0] |= {"iscrowd": 1, "difficult": 1}
    path = str(tmp_path / "part.json")
    write_coco_file(data, [1, 2], path)
    found = load_dataset(f"{path}@")
    assert found.records == [data.records[1], data.records[2]]
    assert found.class_names == data.class_names
    assert found.category_ids == data.category_ids


@pytest.mark.parametrize("seed", range(5))
def test_a_tie_between_the_sides_goes_to_the_side_that_lacks_more_images(seed: int) -> None:
    """Of the second class both sides lack one image, but the first side already has 3 images."""
    counts, sizes = np.array([[1, 0], [0, 1], [0, 1]]), np.array([3, 5, 1])
    second = stratify(counts, sizes, fraction=0.5, rng=np.random.default_rng(seed))
    assert second.tolist() == [False, True, False]
