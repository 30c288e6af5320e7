"""Text in any script: which font each character gets, what is drawn, and what is reported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retina_plugin.report import draw_boxes
from retina_plugin.report.drawing import fonts, missing, runs, text
from retina_plugin.report.drawing.runs import clean, clusters, split_runs
from tests.report.fonts import RED, write_emoji_font, write_font

HAN, RACCOON = "红细胞", "\U0001f99d"
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def _forget() -> None:
    for cached in (fonts.system_faces, fonts.face_of, missing.warn_missing, text.make_line):
        cached.cache_clear()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of all fonts of the system."""
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(p) for p in tmp_path.iterdir()])
    _forget()
    yield tmp_path
    _forget()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb\t c", "a b c"),
        ("bell\x07", "bell�"),
        ("\ud800x", "�x"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", ""),
    ],
    ids=["white space", "control", "surrogate", "direction", "empty"],
)
def test_clean(name: str, expected: str) -> None:
    assert clean(name) == expected


def test_clusters_keep_marks_and_joined_emoji_together() -> None:
    assert clusters("e\u0301x") == ["e\u0301", "x"]
    scientist, hand = "\U0001f469\u200d\U0001f52c", "\U0001f44d\U0001f3fd"
    assert clusters(scientist + hand) == [scientist, hand]


def test_each_character_gets_a_font_that_has_it(system: Path) -> None:
    write_font(system / "B-Bold.ttf", HAN)
    write_font(system / "C-Sans.ttf", HAN)
    (system / "A-broken.ttf").write_bytes(b"no font")
    (system / "LastResort.otf").write_bytes(b"is not read")
    found = split_runs(f"red {HAN} 7")
    assert [run.text for run in found] == ["red ", HAN, " 7"]
    default = fonts.default_face()
    assert [run.face for run in found] == [default, fonts.Face(str(system / "C-Sans.ttf")), default]


def test_characters_of_other_fonts_are_drawn(system: Path) -> None:
    """Three black squares of 20 x 20 pixels, and a bitmap of 32 x 32 reduced to the line."""
    write_font(system / "han.ttf", HAN)
    write_emoji_font(system / "emoji.ttf", RACCOON)
    line = text.make_line(HAN, 20)
    assert line.width == 60
    drawn = text.render_line(line, BLACK, WHITE)
    assert (drawn == 0).all(axis=2).sum() == 60 * 20
    line = text.make_line(RACCOON, 20)
    assert line.width == 20
    drawn = text.render_line(line, BLACK, WHITE)
    assert tuple(drawn[drawn.shape[0] // 2, 10]) == RED


def test_one_warning_and_codes_for_characters_without_a_font(
    system: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["cell", HAN, f"{RACCOON} raccoon"]
    image = np.full((100, 600, 3), 128, np.uint8)
    with caplog.at_level(logging.WARNING, logger="retina_plugin"):
        for _ in range(2):
            drawn = draw_boxes(image, [[10, 30, 590, 90]], [1], class_names=names)
    (record,) = caplog.records
    message = record.getMessage()
    assert f"class 1, '{HAN}': no font of this system has '红' (U+7EA2, CJK UNIFIED" in message
    assert "Names with such characters: 2 of 3." in message
    assert "apt install fonts-noto-cjk" in message
    assert [run.text for run in split_runs(HAN)] == ["[7EA2 7EC6 80DE]"]
    expected = draw_boxes(image, [[10, 30, 590, 90]], [1], class_names=["", "[7EA2 7EC6 80DE]"])
    np.testing.assert_array_equal(drawn, expected)
    _forget()
    with caplog.at_level(logging.WARNING, logger="retina_plugin"):
        missing.warn_missing((names[2],))
    assert "apt install fonts-noto-color-emoji" in caplog.records[-1].getMessage()


def test_long_text_is_shortened() -> None:
    line = text.make_line("a name that is very long", 12, 80)
    assert line.width <= 80
    (run,) = line.runs
    assert run.text.startswith("a name")
    assert run.text.endswith("…")
    assert text.make_line("name", 12, 80).runs[0].text == "name"
    assert text.make_line("name", 12, 1).runs[0].text == "…"


def test_runs_of_text_from_right_to_left_are_reversed(system: Path) -> None:
    write_font(system / "han.ttf", HAN)
    found = text.make_line(f"\u05d0\u05d1 {HAN}", 12).runs
    assert [run.text for run in found] == [HAN, "\u05d0\u05d1 "]
    assert not runs.is_right_to_left("12 red")
