"""YOLO: layouts of data.yaml and folders, rows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from retina_plugin.data import DatasetError, load_dataset, splits_of, use_box_coordinates
from tests.imported_boxes import Table, boxes, classes, read, write_images

ROW = "1 0.5 0.5 0.2 0.4\n"  # of 100 x 50 pixels: 40..60, 15..35
BOX = ("ant", 0.4, 0.3, 0.6, 0.7)
NAMES = "names: [cat, ant]\n"


def write(folder: Path, files: dict[str, str]) -> None:
    """Files by name; those that end with an image's suffix are images of 100 x 50 pixels."""
    for name, text in files.items():
        if name.endswith((".png", ".jpg")):
            write_images(folder, name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")


def found(table: Table) -> list[tuple[object, ...]]:
    return [box for rows in table.values() for box in rows]


def image(*folders: str) -> dict[str, str]:
    """An image with a label file in the folder "labels" beside "images"."""
    labels = [folder.replace("images", "labels") for folder in folders]
    files = {f"{folder}/a.png": "" for folder in folders}
    return files | {f"{folder}/a.txt": ROW for folder in labels}


LAYOUTS = {
    "Ultralytics": (
        {"data.yaml": "path: .\ntrain: images/train\nval: images/val\n" + NAMES}
        | image("images/train", "images/val"),
        ["train", "val"],
    ),
    "Roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
            "nc: 2\nnames: ['cat', 'ant']\n"
        }
        | image("train/images", "valid/images"),
        ["train", "val", "test"],
    ),
    "names as dict, valid": (
        {"my.yaml": "train: train/images\nvalid: valid/images\nnames:\n  0: cat\n  1: ant\n"}
        | image("train/images", "valid/images"),
        ["train", "val"],
    ),
    "list of folders": (
        {"data.yaml": "train:\n  - one/images\n  - two/images\nval:\n" + NAMES}
        | image("one/images", "two/images"),
        ["train"],
    ),
    "txt list": (
        {"data.yaml": "train: train.txt\nnames: [cat, ant]\n", "train.txt": "./images/a.png\n"}
        | image("images"),
        ["train"],
    ),
    "path of another machine": (
        {"data.yaml": "path: /content/my\ntrain: /content/my/train/images\n" + NAMES}
        | image("train/images"),
        ["train"],
    ),
    "Darknet, CVAT": (
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
            "obj.names": "cat\nant\n",
            "train.txt": "data/obj_train_data/a.png\n",
            "obj_train_data/a.png": "",
            "obj_train_data/a.txt": ROW,
        },
        ["train"],
    ),
    "Label Studio": (
        {"classes.txt": "cat\nant\n", "notes.json": '{"categories": [], "info": {}}'}
        | image("images"),
        [""],
    ),
    "split folders": (
        {"classes.txt": "cat\nant\n"} | image("train/images", "valid/images"),
        ["train", "val"],
    ),
    "split folders below images": (
        {"classes.txt": "cat\nant"} | image("images/train", "images/val"),
        ["train", "val"],
    ),
    "capital letters": (
        {"classes.txt": "cat\nant\n", "Images/Train/a.png": "", "Labels/Train/a.txt": ROW},
        ["train"],
    ),
    "capital letters of the images": (
        {"classes.txt": "cat\nant\n", "Images/a.png": "", "labels/a.txt": ROW},
        [""],
    ),
    "beside the images": ({"a.png": "", "a.txt": ROW, "classes.txt": "cat\nant\n"}, [""]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    files, splits = LAYOUTS[layout]
    write(tmp_path, files)
    assert list(splits_of(str(tmp_path))) == splits
    imported = read(tmp_path, splits[0])
    assert classes(imported) == ["cat", "ant"]
    assert set(found(boxes(imported))) == {BOX}
    assert len(imported.content["images"]) == (2 if layout == "list of folders" else 1)
    dataset = load_dataset(str(tmp_path))
    assert dataset.records[0]["annotations"][0]["bbox"] == pytest.approx([40, 15, 60, 35])
    assert dataset.format.startswith("YOLO")


def test_a_split_whose_folder_is_missing(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["Roboflow"][0])
    with pytest.raises(DatasetError, match=r"data.yaml names \.\./test/images, which is not below"):
        load_dataset(f"{tmp_path}/data.yaml:test")
    with pytest.raises(DatasetError, match=r"no split 'extra', but train, val, test"):
        load_dataset(f"{tmp_path}:extra")
    assert load_dataset(f"{tmp_path}:valid").format == "YOLO, split val of data.yaml"


@pytest.mark.parametrize(
    ("row", "box", "note"),
    [
        ("1.0e+00 5.0e-01 5.0e-01 2.0e-01 4.0e-01", BOX, ""),
        ("\ufeff1 0.5 0.5 0.2 0.4", BOX, ""),
        ("1 0.5 0.5 0.2 0.4 0.93", BOX, "6th column"),
        ("1 0.4 0.3 0.6 0.3 0.6 0.7", BOX, "polygons"),
        ("1 0.6 0.7 0.4 0.7 0.4 0.3 0.6 0.3", BOX, "polygons"),  # four corners
        ("1\t0.5  0.5 0.2\t0.4\r", BOX, ""),
        ("1 1.005 0.5 0.2 0.4", ("ant", 0.905, 0.3, 1.105, 0.7), ""),
    ],
)
def test_rows(tmp_path: Path, row: str, box: tuple[object, ...], note: str) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + NAMES} | image("images"))
    (tmp_path / "labels/a.txt").write_text(f"{row}\n\n", encoding="utf-8")
    imported = read(tmp_path, "train")
    assert found(boxes(imported)) == [box]
    assert imported.places == [f"{tmp_path}/labels/a.txt, line 1"]
    assert note in " ".join(imported.notes)
    assert bool(imported.notes) == bool(note)


def test_boxes_and_polygons_in_one_file_and_keypoints(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + NAMES} | image("images"))
    label = tmp_path / "labels/a.txt"
    label.write_text(f"{ROW}0 0.1 0.1 0.3 0.1 0.3 0.2\n0 0 0 1 0 1 1\n")
    imported = read(tmp_path, "train")
    assert found(boxes(imported)) == [BOX, ("cat", 0.1, 0.1, 0.3, 0.2), ("cat", 0, 0, 1, 1)]
    (note,) = imported.notes
    assert note == (
        "2 rows are polygons, which were replaced by their enclosing boxes "
        f"(first: {label}, line 2)"
    )
    (tmp_path / "data.yaml").write_text("train: images\nkpt_shape: [3, 2]\n" + NAMES)
    label.write_text("1 0.5 0.5 0.2 0.4 0.1 0.1 0.2 0.2 0.3 0.3\n")
    assert found(boxes(read(tmp_path, "train"))) == [BOX]


def test_empty_and_missing_label_files_are_background(tmp_path: Path) -> None:
    files = {"data.yaml": "train: images\n" + NAMES, "images/b.png": "", "images/c.png": ""}
    write(tmp_path, files | image("images") | {"labels/b.txt": "", "labels/z.txt": ROW})
    imported = read(tmp_path, "train")
    assert boxes(imported) == {"images/a.png": [BOX], "images/b.png": [], "images/c.png": []}
    missing, unused = imported.notes
    assert missing == (
        f"1 images have no label file and count as images without objects (first: "
        f"{tmp_path}/images/c.png)"
    )
    assert "1 label files have no image and are not used" in unused
    assert "z.txt" in unused


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1 0.5 0.5 0.2", "expected class, centre x.*found 4 values"),
        ("1 0.5 0.5 0.2 0.4 0.1 0.1 0.1", "expected 5 values.*found 8 values"),
        ("1 50 0.5 0.2 0.4", "expected fractions of the image size.*found 50; .*pixels"),
        ("1 0.5 -0.2 0.2 0.4", "expected fractions .*found -0.2"),
        ("1 0.5 0.5 nan 0.4", "expected numbers, found 'nan'"),
        ("1 0,5 0,5 0,2 0,4", "expected numbers, found '0,5'"),
        ("2 0.5 0.5 0.2 0.4", r"expected a class 0\.\.1, found 2"),
        ("0.5 0.5 0.5 0.2 0.4", r"expected a class 0\.\.1, found 0.5"),
        ("-1 0.5 0.5 0.2 0.4", r"expected a class 0\.\.1, found -1"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: str, words: str) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + NAMES} | image("images"))
    (tmp_path / "labels/a.txt").write_text(f"{ROW}{row}\n")
    with pytest.raises(DatasetError, match=f"labels/a.txt, line 2: {words}"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nc: 3\n" + NAMES, "nc is 3, but names has 2 classes: cat, ant"),
        ("nc: many\n", "nc: expected the number of classes, found 'many'"),
        ("names: {0: cat, 2: ant}\n", r"names: expected the classes 0\.\.1, found 0, 2"),
        ("names: cats.txt\n", "names: expected a list, a dict or a file of names, found 'cats"),
        ("names: [cat, cat]\n", "classes 0 and 1 are both called 'cat'"),
        ("names: [cat, '']\n", "names: expected text, found ''"),
        ("val: {a: b}\n" + NAMES, "val: expected a path or a list of paths"),
        ("kpt_shape: 3\n" + NAMES, "kpt_shape: expected two numbers"),
    ],
)
def test_data_yaml_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + text} | image("images"))
    with pytest.raises(DatasetError, match=f"data.yaml: {words}"):
        load_dataset(str(tmp_path / "data.yaml"))


def test_class_names_that_yaml_reads_as_other_values(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": "train: images\nnames: [no, 1]\n"} | image("images"))
    assert classes(read(tmp_path, "train")) == ["no", "1"]


def test_without_class_names(tmp_path: Path) -> None:
    write(tmp_path, image("images"))
    imported = read(tmp_path)
    assert classes(imported) == ["class 0", "class 1"]
    assert "write them into classes.txt" in imported.notes[0]
    write(tmp_path, {"data.yaml": "train: images\nnc: 3\n"})
    assert classes(read(tmp_path, "train")) == ["class 0", "class 1", "class 2"]


def test_no_label_at_all(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + NAMES, "images/a.png": ""})
    with pytest.raises(DatasetError, match="none of 1 images has a label file"):
        load_dataset(str(tmp_path))


def test_several_yaml_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "train: images\n" + NAMES, "b.yml": "train: images\n" + NAMES})
    write(tmp_path, image("images"))
    with pytest.raises(DatasetError, match=r"2 files .*a.yaml, b.yml. Use the path of one of them"):
        load_dataset(str(tmp_path))
    assert load_dataset(f"{tmp_path}/a.yaml").class_names == ("cat", "ant")


@pytest.mark.parametrize(
    ("words", "box"),
    [
        # 100 x 50 pixels as stored; orientation 6 shows the left edge of it at the top
        ("upright", [20, 30, 30, 70]),  # 0.4..0.6 of 50, 0.3..0.7 of 100
        ("stored", [15, 40, 35, 60]),  # 40..60 and 15..35 before rotation
    ],
)
def test_photographs_that_exif_rotates(tmp_path: Path, words: str, box: list[int]) -> None:
    write(tmp_path, {"data.yaml": "train: images\n" + NAMES} | image("images"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 50)).save(tmp_path / "images/a.png", exif=exif)
    (line,) = load_dataset(str(tmp_path)).warnings
    assert "BOX_COORDINATES" in line
    use_box_coordinates(words)
    try:
        dataset = load_dataset(str(tmp_path))
    finally:
        use_box_coordinates("")
    assert dataset.warnings == ()
    assert dataset.records[0]["annotations"][0]["bbox"] == pytest.approx(box)
    assert (dataset.records[0]["width"], dataset.records[0]["height"]) == (50, 100)


def test_image_folder(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": "train: gone\n" + NAMES} | image("elsewhere/images"))
    name = f"{tmp_path}/data.yaml@{tmp_path}/elsewhere/images"
    assert len(load_dataset(name).records[0]["annotations"]) == 1


@pytest.mark.parametrize(
    ("layout", "split"),
    [
        (("images/cam1", "images/cam2"), ""),
        (("images/train/cam1", "images/train/cam2"), "train"),
        (("train/images/cam1", "train/images/cam2/x"), "train"),
    ],
)
def test_images_in_subfolders_without_data_yaml(
    tmp_path: Path, layout: tuple[str, ...], split: str
) -> None:
    write(tmp_path, {"classes.txt": "cat\nant\n"} | image(*layout))
    imported = read(tmp_path, split)
    assert boxes(imported) == {f"{folder}/a.png": [BOX] for folder in layout}
    assert imported.notes == ()


def test_labels_beside_images_in_subfolders(tmp_path: Path) -> None:
    """LabelImg writes classes.txt into each folder."""
    files = {f"{folder}/a.txt": ROW for folder in ("x", "y/z")}
    names = {f"{folder}/classes.txt": "cat\nant\n" for folder in ("x", "y/z")}
    write(tmp_path, files | names | {"x/a.png": "", "y/z/a.png": "", "w/empty.png": ""})
    imported = read(tmp_path)
    assert boxes(imported) == {"w/empty.png": [], "x/a.png": [BOX], "y/z/a.png": [BOX]}
    assert classes(imported) == ["cat", "ant"]
    (tmp_path / "y/z/classes.txt").write_text("dog\nant\n")
    with pytest.raises(DatasetError, match=r"x/classes.txt and .*z/classes.txt have different cla"):
        load_dataset(str(tmp_path))


def test_folders_that_are_data_sets_of_their_own_are_not_merged(tmp_path: Path) -> None:
    write(tmp_path, image("pets/images", "cars/images"))
    with pytest.raises(DatasetError, match=r"known formats: .*/cars \(YOLO\), .*/pets \(YOLO\)"):
        load_dataset(str(tmp_path))


def test_a_label_file_that_starts_with_infinity_is_not_yolo(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": "", "a.txt": "inf 0.5 0.5 0.1 0.1\n"})
    with pytest.raises(DatasetError, match="no annotation format is recognised"):
        load_dataset(str(tmp_path))


def test_files_with_suffixes_in_upper_case(tmp_path: Path) -> None:
    write(tmp_path, {"CLASSES.TXT": "cat\nant\n", "labels/a.TXT": ROW})
    Image.new("RGB", (100, 50)).save(tmp_path / "labels/a.PNG")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels/a.PNG").rename(tmp_path / "images/a.PNG")
    imported = read(tmp_path)
    assert boxes(imported) == {"images/a.PNG": [BOX]}
    assert imported.notes == ()


def test_empty_labels_and_no_class_names(tmp_path: Path) -> None:
    write(tmp_path, {"images/a.png": "", "labels/a.txt": "", "classes.txt": ""})
    with pytest.raises(DatasetError, match="has no boxes and no list of classes: draw boxes"):
        load_dataset(str(tmp_path))
    (tmp_path / "classes.txt").write_text("cat\nant\n")
    assert load_dataset(str(tmp_path)).class_names == ("cat", "ant")


def test_a_path_with_two_meanings(tmp_path: Path) -> None:
    """Roboflow's ../train/images is the folder of the data.yaml, unless another one is there."""
    for folder in ("data/train", "train"):
        write(tmp_path / folder, {"images/1.jpg": "", "labels/1.txt": "0 0.5 0.5 0.2 0.4\n"})
    (tmp_path / "data/data.yaml").write_text("train: ../train/images\nnames: [ant]\n")
    with pytest.raises(DatasetError, match=r"names \.\./train/images, and both .*Write the one"):
        read(tmp_path / "data", "train")


def test_hidden_files_of_an_archive_from_macos(tmp_path: Path) -> None:
    write(tmp_path, image("images") | {"images/._a.jpg": "", "labels/._a.txt": "\0\5"})
    assert list(boxes(read(tmp_path))) == ["images/a.png"]


def test_numbered_folders_of_splits(tmp_path: Path) -> None:
    write(tmp_path, image("images/train2017", "images/val_1", "images/val_2"))
    assert list(splits_of(str(tmp_path))) == ["train", "val"]
    assert len(boxes(read(tmp_path, "val"))) == 2
