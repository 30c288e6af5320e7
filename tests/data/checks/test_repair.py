"""Repaired copies: what is repaired, what remains; the check of a copy is clean."""

from __future__ import annotations

import shutil

import pytest

from retina_plugin.data import DatasetError, load_dataset
from retina_plugin.data.checks import RULES, check_datasets
from retina_plugin.data.checks.repair import repair_set
from retina_plugin.data.checks.write_repaired import write_repaired
from tests.data.checks.sets import VIEW, Scene, found
from tests.data.checks.test_rules import (
    CASES,
    copy_file,
    stored_sideways,
    to_corners,
    to_fractions,
    truncate,
)

pytestmark = pytest.mark.slow

NOT_REPAIRED = {"suspicious-coordinates", "two-classes", "similar-class-names", "small-box"}


def repair(folder, *names):
    result = check_datasets(names, lambda _: VIEW, show=False)
    sets = [repair_set(checked) for checked in result.sets]
    written, _ = write_repaired(sets, str(folder))
    return sets, written


def is_bad(rule: str) -> bool:
    return RULES[rule].severity != "note"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(change, expected, id=name)
        for name, change, expected in CASES
        if any(map(is_bad, expected)) and name not in ("class name twice", "copy without boxes")
    ],
)
def test_the_check_of_a_repaired_copy_is_clean(tmp_path, change, expected):
    scene = Scene(tmp_path / "original")
    change(scene)
    (one,), written = repair(tmp_path / "copy", scene.write())
    bad = {rule: len(places) for rule, places in expected.items() if is_bad(rule)}
    remaining = {rule: count for rule, count in bad.items() if rule in NOT_REPAIRED}
    assert one.remaining == remaining
    assert one.repaired == {rule: n for rule, n in bad.items() if rule not in NOT_REPAIRED}
    again = found(*written)
    assert {rule for rule in again if is_bad(rule)} == set(remaining)
    load_dataset(written[0])


def test_boxes_are_converted_as_they_are_meant(tmp_path):
    clean, fractions, sideways = (Scene(tmp_path / name) for name in ("a", "b", "c"))
    to_fractions(fractions)
    stored_sideways(sideways)
    for annotation in sideways.annotations[6:8]:  # of image 3, turned as the stored image
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [y, 64 - x - w, h, w]
    expected = load_dataset(clean.write()).records
    for name, scene in (("fractions", fractions), ("sideways", sideways)):
        _, written = repair(tmp_path / name, scene.write())
        records = load_dataset(written[0]).records
        for record, other in zip(records, expected, strict=True):
            assert (record["width"], record["height"]) == (64, 48)
            for a, b in zip(record["annotations"], other["annotations"], strict=True):
                assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-9)


def test_corners_are_converted(tmp_path):
    scene = Scene(tmp_path / "a")
    to_corners(scene)
    _, written = repair(tmp_path / "copy", scene.write())
    assert load_dataset(written[0]).records[0]["annotations"][0]["bbox"] == [20, 20, 40, 36]


def test_leaked_images_are_left_out_of_training(tmp_path):
    training, validation = Scene(tmp_path / "train"), Scene(tmp_path / "val", first_seed=50)
    shutil.copy(training.path(4), validation.path(7))
    sets, written = repair(tmp_path / "copy", training.write(), validation.write())
    assert [len(one.dataset.records) for one in sets] == [11, 12]
    assert found(*written) == {}
    assert found(str(tmp_path / "copy")) == {}  # all splits of the folder
    assert (tmp_path / "copy" / "annotations").is_dir()


def test_copies_with_other_boxes_remain(tmp_path):
    scene = Scene(tmp_path / "a")
    copy_file(scene, boxes=False)
    (one,), written = repair(tmp_path / "copy", scene.write())
    assert one.remaining == {"copied-image": 1}
    assert found(*written) == {"copied-image": ["12.png"]}


def test_boxes_of_one_file_are_put_together(tmp_path):
    scene = Scene(tmp_path / "a")
    scene.images.append(scene.images[3] | {"id": 12})
    scene.add_box(12, 1, [5, 30, 12, 12])
    scene.add_box(12, 1, [5, 3, 20, 15])  # image 3 has this box
    (one,), written = repair(tmp_path / "copy", scene.write())
    assert len(one.dataset.records) == 12
    assert len(load_dataset(written[0]).records[3]["annotations"]) == 3


def test_the_originals_are_unchanged(tmp_path):
    scene = Scene(tmp_path / "a")
    truncate(scene)
    scene.add_box(3, 1, [10, 10, 0, 9])
    name = scene.write()
    files = sorted((tmp_path / "a").rglob("*.*"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    repair(tmp_path / "copy", name)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before


def test_used_folders_and_sets_without_images(tmp_path):
    scene = Scene(tmp_path / "a")
    name = scene.write()
    with pytest.raises(DatasetError, match="exists: name a new or empty folder"):
        repair(tmp_path / "a", name)
    with pytest.raises(DatasetError, match="no image can be kept"):
        repair(tmp_path / "copy", name, f"{tmp_path / 'a' / 'no.json'}@{tmp_path}")
    sets = [Scene(tmp_path / letter, first_seed=ord(letter)).write() for letter in "bcde"]
    with pytest.raises(DatasetError, match="but 4 data sets are given"):
        repair(tmp_path / "copy", *sets)
    assert not (tmp_path / "copy").exists()


def test_different_classes_become_equal(tmp_path):
    scenes = Scene(tmp_path / "train"), Scene(tmp_path / "val", first_seed=50)
    scenes[1].categories = [{"id": 2, "name": "bee"}, {"id": 1, "name": "wasp"}]
    (_, second), written = repair(tmp_path / "copy", *(scene.write() for scene in scenes))
    assert (second.repaired, second.remaining) == ({"different-classes": 1}, {})
    assert not {rule for rule in found(*written) if is_bad(rule)}
    train, val = map(load_dataset, written)
    assert train.class_names == val.class_names == ("ant", "bee", "wasp")
    labels = [a["category_id"] for a in val.records[0]["annotations"]]
    assert [val.class_names[i] for i in labels] == ["wasp", "bee"]
