"""CVAT's XML."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.data import DatasetError
from retina_plugin.data.importers import IMPORTERS
from tests.imported_boxes import boxes, classes, read, write_images

LABELS = (
    "<labels>" + "".join(f"<label><name>{n}</name></label>" for n in ("dog", "cat")) + "</labels>"
)


def write(folder: Path, content: str, meta: str = f"<task>{LABELS}</task>") -> Path:
    """A file whose content starts in line 3."""
    file = folder / "annotations.xml"
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><meta>{meta}</meta>\n{content}\n'
    file.write_text(f"{text}</annotations>\n", encoding="utf-8")
    return file


def image(*shapes: str, name: str = "a.png", more: str = "") -> str:
    start = f'<image id="0" name="{name}" width="100" height="50" {more}>'
    return "\n".join([start, *shapes, "</image>"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<box label="dog" xtl="1.5" ytl="2" xbr="30" ybr="40.25"/>', (1.5, 2, 30, 40.25)),
        # 20 x 10 about (20, 15): rotated by 90 degrees it is 10 x 20
        ('<box label="dog" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>', (15, 5, 25, 25)),
        ('<box label="dog" xtl="10" ytl="10" xbr="30" ybr="20" rotation="180"/>', (10, 10, 30, 20)),
        # 10 x 10 about (15, 15) at 45 degrees: half a diagonal of 7.071 to each side
        (
            '<box label="dog" xtl="10" ytl="10" xbr="20" ybr="20" rotation="45"/>',
            (7.929, 7.929, 22.071, 22.071),
        ),
        ('<polygon label="dog" points="5.0,9.0;7,1;3,4"/>', (3, 1, 7, 9)),
        ('<ellipse label="dog" cx="20" cy="20" rx="10" ry="5"/>', (10, 15, 30, 25)),
        ('<ellipse label="dog" cx="20" cy="20" rx="10" ry="5" rotation="90"/>', (15, 10, 25, 30)),
        (
            '<cuboid label="dog" xtl1="1" ytl1="2" xbl1="1" ybl1="20" xtr1="9" ytr1="2" xbr1="9" '
            'ybr1="20" xtl2="4" ytl2="1" xbl2="4" ybl2="18" xtr2="12" ytr2="1" xbr2="12" '
            'ybr2="18"/>',
            (1, 1, 12, 20),
        ),
        # 3 pixels from 10 on: the right edge is 13
        (
            '<mask label="dog" rle="1, 1, 4" left="10" top="20" width="3" height="2"/>',
            (10, 20, 13, 22),
        ),
    ],
    ids=["box", "90", "180", "45", "polygon", "ellipse", "rotated ellipse", "cuboid", "mask"],
)
def test_boxes_of_shapes(tmp_path: Path, shape: str, expected: tuple[float, ...]) -> None:
    write_images(tmp_path, "a.png")
    imported = read(write(tmp_path, image(shape)))
    assert boxes(imported) == {"a.png": [("dog", *expected)]}
    assert classes(imported) == ["dog", "cat"]  # in the order of <meta>
    assert imported.places == [f"{tmp_path / 'annotations.xml'}, line 4"]
    assert any("enclosing" in note for note in imported.notes) == (
        "rotat" in shape or "cub" in shape
    )


def test_images_without_boxes_flags_and_shapes_that_are_left_out(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    content = image(
        '<box label="dog" xtl="1" ytl="2" xbr="3" ybr="4"><attribute name="difficult">true'
        "</attribute></box>",
        '<skeleton label="dog"><points label="1" points="1,2" outside="0"/></skeleton>',
        '<points label="dog" points="1,2"/>',
        '<polyline label="dog" points="1,2;3,4"/>',
        '<tag label="dog"/>',
        '<skeleton label="cat"/>',
    )
    imported = read(write(tmp_path, content + image(name="b.png")))
    assert boxes(imported) == {
        "images/a.png": [("dog", 1, 2, 3, 4, "difficult")],
        "images/b.png": [],
    }
    assert [note.split(" (")[0] for note in imported.notes] == [
        "2 shapes <skeleton> were left out",
        "1 shapes <points> were left out",
        "1 shapes <polyline> were left out",
        "1 shapes <tag> were left out",
    ]
    assert imported.content["images"][0]["width"] == 100


def track(*shapes: str, label: str = "dog") -> str:
    return "\n".join([f'<track id="0" label="{label}">', *shapes, "</track>"])


def moving(frame: int, left: int, more: str = 'outside="0"') -> str:
    return f'<box frame="{frame}" xtl="{left}" ytl="2" xbr="30" ybr="40" {more}/>'


def test_tracks(tmp_path: Path) -> None:
    """Shapes that are outside are left out; frames without shapes are images without boxes."""
    names = [f"images/frame_{number:06d}.PNG" for number in range(4)]
    write_images(tmp_path, *names)
    size = "<original_size><width>100</width><height>50</height></original_size>"
    content = track(moving(0, 1), moving(1, 2), moving(2, 2, 'outside="1"'))
    content += track(
        '<polygon frame="1" outside="0" points="5,9;7,1;3,4"/>',
        moving(2, 1, 'outside="1"'),
        '<mask frame="3" outside="0" rle="6" left="1" top="2" width="3" height="2"/>',
        label="cat",
    )
    content += track('<skeleton frame="0" outside="0"/>', label="dog")
    imported = read(write(tmp_path, content, f"<task>{LABELS}{size}</task>"))
    assert boxes(imported) == {
        names[0]: [("dog", 1, 2, 30, 40)],
        names[1]: [("dog", 2, 2, 30, 40), ("cat", 3, 1, 7, 9)],
        names[2]: [],
        names[3]: [("cat", 1, 2, 4, 4)],
    }
    assert [note.split(" (")[0] for note in imported.notes] == ["1 shapes <skeleton> were left out"]
    assert imported.content["images"][3]["height"] == 50


def test_frames_between_shapes_of_a_track_are_noted(tmp_path: Path) -> None:
    write_images(tmp_path, *[f"frame_{number:06d}.png" for number in range(4)])
    imported = read(write(tmp_path, track(moving(0, 1), moving(3, 2))))
    assert imported.notes[0].startswith("1 gaps in tracks: frames between two shapes have no shape")


def test_subsets_of_a_project_are_splits(tmp_path: Path) -> None:
    write_images(tmp_path, "images/Train/a.png", "images/Validation/a.png")
    box = '<box label="dog" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    content = image(box, more='subset="Train"') + image(more='subset="Validation"')
    write(tmp_path, content, f"<project>{LABELS}<subsets>Train\nValidation</subsets></project>")
    importer = IMPORTERS.get("CVAT")()
    assert set(importer.splits(str(tmp_path)) or ()) == {"train", "val"}
    assert boxes(read(tmp_path, "train")) == {"images/Train/a.png": [("dog", 1, 2, 3, 4)]}
    assert boxes(read(tmp_path, "val")) == {"images/Validation/a.png": []}


def test_labels_of_meta(tmp_path: Path) -> None:
    """Parts of skeletons and labels without boxes are no classes; without <meta>, those that
    occur are."""
    write_images(tmp_path, "a.png")
    meta = "<task><labels>"
    for label in ("<name>dog</name><type>any</type>", "<name>good</name><type>tag</type>"):
        meta += f"<label>{label}</label>"
    meta += "<label><name>eye</name><parent>face</parent></label></labels></task>"
    box = '<box label="dog" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    assert classes(read(write(tmp_path, image(box), meta))) == ["dog"]
    assert classes(read(write(tmp_path, image(box), "<task/>"))) == ["dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (image('<box label="dog" xtl="1" ytl="2" xbr="3"/>'), r"line 4: .* number as ybr of <box>"),
        (
            image('<box label="dog" xtl="1,5" ytl="2" xbr="3" ybr="4"/>'),
            r"line 4: expected a number as xtl of <box>, found '1,5'",
        ),
        (image('<box xtl="1" ytl="2" xbr="3" ybr="4"/>'), r"line 4: expected label of <box>"),
        (
            image('<box label="cow" xtl="1" ytl="2" xbr="3" ybr="4"/>'),
            r"line 4: expected a label of <meta>, found 'cow'; it has 'dog, cat'",
        ),
        (image('<polygon label="dog" points="1,2;3"/>'), r"line 4: expected points 'x,y;x,y;...'"),
        (image('<star label="dog"/>'), r"line 4: expected one of box, .*found <star>"),
        ('<image id="0"/>', r"line 3: expected name of <image>, found nothing"),
        (
            '<track label="dog"><box outside="0"/></track>',
            r"line 3: .* whole number as frame of <box>",
        ),
        ("", r"expected images or tracks, found none"),
        ("<image>", r"line 4: expected XML, found mismatched tag"),
        ("&bomb;", r"line 3: expected XML, found undefined entity"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    write_images(tmp_path, "a.png")
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path, content))


def test_document_types_are_refused(tmp_path: Path) -> None:
    """Entities of a few lines can fill the memory, or read other files."""
    write_images(tmp_path, "a.png")
    file = write(tmp_path, image('<box label="&b;" xtl="1" ytl="2" xbr="3" ybr="4"/>'))
    bomb = '<!DOCTYPE x [<!ENTITY a "dog"><!ENTITY b "&a;&a;">]>\n<annotations>'
    file.write_text(file.read_text().replace("<annotations>", bomb))
    with pytest.raises(
        DatasetError, match=r"line 2: .* a document type declaration \(<!DOCTYPE x>"
    ):
        read(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-2"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    write_images(tmp_path, "a.png")
    file = write(tmp_path, image('<box label="čáp" xtl="1" ytl="2" xbr="3" ybr="4"/>'), "<task/>")
    declared = file.read_text(encoding="utf-8").replace("utf-8", encoding.removesuffix("-sig"))
    file.write_bytes(declared.replace("\n", "\r\n").encode(encoding))
    imported = read(file)
    assert boxes(imported) == {"a.png": [("čáp", 1, 2, 3, 4)]}
    assert imported.places == [f"{file}, line 4"]
