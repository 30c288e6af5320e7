"""CSV of keras-retinanet, CSV with a header, CSV of Open Images."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.data import DatasetError, load_dataset
from retina_plugin.data.importers import IMPORTERS
from tests.imported_boxes import boxes, classes, read, write_images

FIZYR = "images/a.png,1,2,30,40,dog\nimages/b.png,,,,,\nimages/a.png,5,6,7,8,cat\n"
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
)
DOG = {"images/a.png": [("dog", 1, 2, 30, 40), ("cat", 5, 6, 7, 8)], "images/b.png": []}


def write(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


# ---------------------------------------------------------------------------- keras-retinanet


def test_boxes_of_keras_retinanet(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    imported = read(write(tmp_path, "boxes.csv", FIZYR))
    assert boxes(imported) == DOG
    assert classes(imported) == ["cat", "dog"]  # sorted, as no file lists them
    assert [place.rpartition(", ")[2] for place in imported.places] == ["line 1", "line 3"]
    assert (imported.unit, imported.notes) == ("pixels", ())


def test_classes_in_the_order_of_their_file(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    write(tmp_path, "boxes.csv", FIZYR)
    write(tmp_path, "classes.csv", '"bird, small",2\ndog,0\ncat,1\n')
    imported = read(tmp_path)
    assert classes(imported) == ["dog", "cat", "bird, small"]
    assert boxes(imported) == DOG
    assert imported.watched == (str(tmp_path / "boxes.csv"), str(tmp_path / "classes.csv"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xef\xbb\xbf" + FIZYR.encode(), id="byte order mark"),
        pytest.param(FIZYR.encode("utf-16"), id="UTF-16"),
        pytest.param(FIZYR.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(FIZYR.encode("utf-16-be"), id="UTF-16-BE without mark"),
        pytest.param(FIZYR.encode("utf-32"), id="UTF-32"),
        pytest.param(FIZYR.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(FIZYR.replace("\n", "\r").encode(), id="CR"),
        pytest.param(FIZYR.replace(",", ";").encode(), id="semicolons"),
        pytest.param(FIZYR.replace(",", "\t").encode(), id="tabs"),
        pytest.param(FIZYR.replace("\n", "\n\n").rstrip().encode(), id="empty lines, no last end"),
        pytest.param(FIZYR.replace(",", " , ").encode(), id="spaces"),
        pytest.param(FIZYR.replace("\n", ",,\n").encode(), id="empty columns at the end"),
        pytest.param((FIZYR + ",,,,,\n").encode(), id="row without text"),
    ],
)
def test_spellings_of_one_table(tmp_path: Path, text: bytes) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    assert boxes(read(write(tmp_path, "boxes.csv", text))) == DOG


def test_names_with_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    write_images(tmp_path, "a,b.png")
    text = '"a,b.png",1,2,3,4,"a ""big"", dog"\n"a,b.png",5,6,7,8,"two\nlines"\n'
    imported = read(write(tmp_path, "boxes.csv", text + '"a,b.png",1,1,2,2,cat\n'))
    assert boxes(imported)["a,b.png"] == [
        ('a "big", dog', 1, 2, 3, 4),
        ("two\nlines", 5, 6, 7, 8),
        ("cat", 1, 1, 2, 2),
    ]
    assert [place.rpartition(", ")[2] for place in imported.places] == [
        "line 1",
        "line 2",
        "line 4",
    ]


def test_decimal_comma_between_semicolons(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    imported = read(write(tmp_path, "boxes.csv", "a.png;1,5;2,25;3;4,0;dog\n"))
    assert boxes(imported) == {"a.png": [("dog", 1.5, 2.25, 3, 4)]}


def test_equal_rows_count_once(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    text = "a.png,1,2,3,4,dog\na.png,1,2,3,4,dog\na.png,1,2,3,4,cat\na.png,,,,,\n"
    imported = read(write(tmp_path, "boxes.csv", text))
    assert boxes(imported) == {"a.png": [("dog", 1, 2, 3, 4), ("cat", 1, 2, 3, 4)]}
    assert [note.split(" (")[0] for note in imported.notes] == [
        "1 rows occur again and were left out",
        "1 rows mark an image as having no boxes, but other rows have boxes for that image",
    ]


GOOD = "a.png,1,2,3,4,dog\n" * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "a.png,1,2,3,dog\n", r"line 3: expected 6 cells, path, x1, .*; found 5: 'a.png,1"),
        (GOOD + "a,b.png,1,2,3,4,dog\n", r"line 3: .*found 7: .*a name with a comma needs quotes"),
        (GOOD + "a.png,1,,3,4,dog\n", r"line 3: expected a number in column y1, found ''"),
        (GOOD + "a.png,1,nan,3,4,dog\n", r"line 3: expected a number in column y1, found 'nan'"),
        (
            GOOD + "a.png,1,1e999,3,4,dog\n",
            r"line 3: expected a number in column y1, found '1e999'",
        ),
        (
            GOOD + 'a.png,1,"2,5",3,4,dog\n',
            r"found '2,5'. Write decimal fractions with a point, or separate cells by semicolons",
        ),
        (GOOD + "a.png,1,2,3,4,\n", r"line 3: column class is empty"),
        (GOOD + ",1,2,3,4,dog\n", r"line 3: column path is empty"),
        (
            GOOD + "a.png,70,2,3,4,dog\n",
            r"line 3: expected x1 <= x2, found 70 and 3. If the columns are x, y, width",
        ),
        (GOOD + 'a.png,1,2,3,4,"dog\na.png,1,2', r"line 3: .*Look for a quote that is not closed"),
        (
            GOOD.encode() + b"a.png,1,2,3,4,h\xe9ron\n",
            r"line 3: expected text in utf-8, found byte",
        ),
        (GOOD.encode() + b"a.png,1,2,3,4,d\0g\n", r"line 3: expected text, found a zero byte"),
    ],
)
def test_wrong_rows_of_keras_retinanet(tmp_path: Path, text: str | bytes, message: str) -> None:
    write_images(tmp_path, "a.png")
    file = write(tmp_path, "boxes.csv", text)
    with pytest.raises(DatasetError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat,0\n", r"boxes.csv, line 1: expected a class of .*classes.csv, found 'dog'; .*'cat'"),
        ("dog,0\ncat,0\n", r"classes.csv, line 2: .*each name and id once, found 'cat', 0 again"),
        ("dog,0\ndog,1\n", r"classes.csv, line 2: .*each name and id once, found 'dog', 1 again"),
    ],
)
def test_wrong_classes(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "boxes.csv", GOOD)
    write(tmp_path, "classes.csv", text)
    with pytest.raises(DatasetError, match=message):
        read(tmp_path)


def test_two_files_of_classes(tmp_path: Path) -> None:
    write(tmp_path, "boxes.csv", GOOD)
    write(tmp_path, "one.csv", "dog,0\n")
    write(tmp_path, "two.csv", "dog,1\n")
    with pytest.raises(DatasetError, match=r"one file of classes .*, found .*one.csv, .*two.csv"):
        read(tmp_path)


# ------------------------------------------------------------------------------- with a header


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "a.png,100,50,dog,1,2,30,40\na.png,100,50,cat,5,6,7,8\nb.png,100,50,,,,,\n",
        "ymax;xmax;ymin;xmin;Label;Image\n40;30;2;1;dog;a.png\n8;7;6;5;cat;a.png\n;;;;;b.png\n",
        '"path","x1","y1","x2","y2","class_name"\n'
        "a.png,1,2,30,40,dog\na.png,5,6,7,8,cat\nb.png,,,,,\n",
    ],
    ids=["TensorFlow", "other order and names", "keras-retinanet with a header"],
)
def test_boxes_with_a_header(tmp_path: Path, text: str) -> None:
    write_images(tmp_path, "a.png", "b.png")
    imported = read(write(tmp_path, "boxes.csv", text))
    assert boxes(imported) == {
        "a.png": [("dog", 1, 2, 30, 40), ("cat", 5, 6, 7, 8)],
        "b.png": [],
    }


def test_sizes_and_flags(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    text = "filename,width,height,class,xmin,ymin,xmax,ymax,difficult,is_crowd\n"
    text += "a.png,100,50,dog,1,2,3,4,1,0\na.png,100,50,dog,2,2,3,4,False,True\n"
    imported = read(write(tmp_path, "boxes.csv", text + "a.png,100,50,dog,3,2,3,4,,\n"))
    assert boxes(imported)["a.png"] == [
        ("dog", 1, 2, 3, 4, "difficult"),
        ("dog", 2, 2, 3, 4, "iscrowd"),
        ("dog", 3, 2, 3, 4),
    ]
    image = imported.content["images"][0]
    assert (image["width"], image["height"]) == (100, 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "filename,class,xmin,ymin,xmax\n",
            r"line 1: expected the columns filename, class, .*; found 'filename,.*: ymax missing",
        ),
        (HEADER + "a.png,100,50,dog,1,2,3\n", r"line 2: expected 8 cells"),
        (HEADER + "a.png,100.5,50,dog,1,2,3,4\n", r"line 2: expected a whole number of pixels"),
        (HEADER + "a.png,100,50,dog,1,2,x,4\n", r"line 2: .* number in column xmax, found 'x'"),
        (HEADER + "a.png,100,50,,1,2,3,4\n", r"line 2: column class is empty"),
        (
            HEADER + "a.png,100,50,dog,1,2,3,4\na.png,50,100,dog,1,2,3,4\n",
            r"line 3: expected image size \(100, 50\) as in .*line 2, found \(50, 100\)",
        ),
        (HEADER, r"expected a row for each box, found none"),
        (
            HEADER.replace("\n", ",difficult\n") + "a.png,9,9,dog,1,2,3,4,maybe\n",
            r"line 2: expected 0, 1, true or false for difficult, found 'maybe'",
        ),
    ],
)
def test_wrong_tables_with_a_header(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path, "boxes.csv", text))


def test_splits_by_file_names_and_images_by_split(tmp_path: Path) -> None:
    """Both splits have an image of the same name, in folders called as the splits."""
    write_images(tmp_path, "images/train/0.png", "images/valid/0.png")
    write(tmp_path, "train_labels.csv", HEADER + "0.png,100,50,dog,1,2,3,4\n")
    write(tmp_path, "valid_labels.csv", HEADER + "0.png,100,50,cat,1,2,3,4\n")
    importer = IMPORTERS.get("CSV with a header")()
    assert set(importer.splits(str(tmp_path)) or ()) == {"train", "val"}
    assert boxes(read(tmp_path, "train")) == {"images/train/0.png": [("dog", 1, 2, 3, 4)]}
    assert boxes(read(tmp_path, "val")) == {"images/valid/0.png": [("cat", 1, 2, 3, 4)]}


def test_splits_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write_images(tmp_path, f"{split}/a.png")
        write(tmp_path / split, "_annotations.csv", HEADER + "a.png,100,50,dog,1,2,3,4\n")
    assert boxes(read(tmp_path, "val")) == {"valid/a.png": [("dog", 1, 2, 3, 4)]}


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", "\x89PNG\0\0\0", '"'])
def test_other_files_are_not_recognised(tmp_path: Path, text: str) -> None:
    file = str(write(tmp_path, "other.csv", text))
    assert [name for name, kind in IMPORTERS.items() if kind().splits(file) is not None] == []


# --------------------------------------------------------------------------------- Open Images


def test_boxes_of_open_images(tmp_path: Path) -> None:
    """Fractions, XMin, XMax before YMin, YMax; ids without the suffix of the image."""
    write_images(tmp_path, "train/00a.jpg", "train/00b.jpg")
    text = OPEN_IMAGES + "00a,xclick,/m/01,1,0.1,0.5,0.2,0.8,0,0,0\n"
    text += "00a,xclick,/m/02,1,0,1,0,1,0,0,1\n00b,xclick,/m/01,1,.25,.75,.5,1,-1,-1,-1\n"
    write(tmp_path, "train-annotations-bbox.csv", text)
    write(tmp_path, "class-descriptions-boxable.csv", '/m/01,Dog\n/m/02,"Cat, big"\n/m/03,Bird\n')
    imported = read(tmp_path)
    assert boxes(imported) == {
        "train/00a.jpg": [("Dog", 0.1, 0.2, 0.5, 0.8), ("Cat, big", 0, 0, 1, 1, "group_of")],
        "train/00b.jpg": [("Dog", 0.25, 0.5, 0.75, 1)],
    }
    assert (imported.unit, classes(imported)) == ("fraction", ["Bird", "Cat, big", "Dog"])
    assert imported.notes[0].startswith("1 boxes have IsGroupOf -1 (unknown)")


def test_the_long_list_of_open_images_is_not_the_list_of_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a.jpg", "validation/b.jpg")
    write(tmp_path, "train-bbox.csv", f"{OPEN_IMAGES}a,x,/m/7,1,.1,.5,.2,.8,0,0,0\n")
    write(tmp_path, "validation-bbox.csv", f"{OPEN_IMAGES}b,x,/m/9,1,.1,.5,.2,.8,0,0,0\n")
    write(tmp_path, "classes.csv", "".join(f"/m/{i},Class {i}\n" for i in range(601)))
    for split in ("train", "val"):
        assert load_dataset(f"{tmp_path}:{split}").class_names == ("Class 7", "Class 9")


def test_open_images_without_class_names(tmp_path: Path) -> None:
    write_images(tmp_path, "00a.jpg")
    text = OPEN_IMAGES + "00a,xclick,/m/01,1,0.1,0.5,0.2,0.8,0,0,0\n"
    imported = read(write(tmp_path, "boxes.csv", text))
    assert classes(imported) == ["/m/01"]
    assert imported.notes[0].startswith("1 boxes keep codes such as /m/011k07")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageID,XMin,XMax,YMin\n", r"line 1: expected the columns .*: LabelName, YMax missing"),
        (
            OPEN_IMAGES + "a,x,/m/01,1,.5,.1,.2,.8,0,0,0\n",
            r"line 2: expected XMin <= XMax, found 0.5",
        ),
        (
            OPEN_IMAGES + "a,x,/m/01,1,.1,.5,.2,.8,0,0,2\n",
            r"line 2: expected 0, 1 or -1 for IsGroupOf",
        ),
        (
            OPEN_IMAGES + "a,x,/m/09,1,.1,.5,.2,.8,0,0,0\n",
            r"line 2: expected a class of .*names.csv",
        ),
    ],
)
def test_wrong_tables_of_open_images(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "names.csv", "/m/01,Dog\n")
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path, "boxes.csv", text))


def test_fractions_where_pixels_are_usual(tmp_path: Path) -> None:
    """All corners in 0..1 cannot be pixels; with one of them beyond, they are."""
    write_images(tmp_path, "a.png")
    text = HEADER + "a.png,100,50,dog,0.1,0.2,0.5,1\n"
    imported = read(write(tmp_path, "boxes.csv", text))
    assert imported.unit == "fraction"
    assert imported.notes[0].startswith("1 file has no coordinate above 1: boxes are fractions")
    file = write(tmp_path, "boxes.csv", text + "a.png,100,50,dog,1,2,3,4\n")
    assert read(file).unit == "pixels"


def test_some_fractions_among_pixels(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    rows = "a.png,100,50,dog,1,2,30,40\na.png,100,50,dog,0.1,0.2,0.5,0.9\n"
    file = write(tmp_path, "boxes.csv", HEADER + rows)
    (line,) = (line for line in load_dataset(str(file)).warnings if "fractions" in line)
    assert f"1 of 2 boxes lie between 0 and 1 (first: {file}, line 3, bbox [0.1, 0.2, 0.4" in line
