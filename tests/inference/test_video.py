"""Videos: frame rates and times, rotation, sound, odd sides, and files that are cut off."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retina_plugin.data import DatasetError
from retina_plugin.inference.frame_rate import frame_rate
from retina_plugin.inference.outputs.constant_rate import ConstantRateWriter
from retina_plugin.inference.outputs.video_writer import open_video_writer
from retina_plugin.inference.video import Video

av = pytest.importorskip("av")

HEIGHT, WIDTH = 48, 64
TICK = Fraction(1, 90_000)
STILL = [0, 0.1, 0.2, 1.2, 1.3, 1.4]  # seconds; the third frame is shown for one second


def write(path: Path, times: list[float], *, rotation: int = 0, has_sound: bool = False) -> Path:
    """Write a video whose upper left quarter is white, so that its rotation can be seen."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.time_base = TICK
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this version of PyAV cannot write rotations")
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=44_100) if has_sound else None
        for number, time in enumerate(times):
            pixels = np.full((HEIGHT, WIDTH, 3), 30 * (number % 6), np.uint8)
            pixels[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
            silence.sample_rate = 44_100
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


@pytest.mark.parametrize("uses_pyav", [True, False])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_frames(tmp_path: Path, suffix: str, uses_pyav: bool) -> None:
    """They are those of the file, in a varying rate too; sound is ignored."""
    path = write(tmp_path / f"film{suffix}", STILL, has_sound=True)
    video = Video(str(path), uses_pyav=uses_pyav)
    frames = list(video.frames())
    assert [frame.time for frame in frames] == pytest.approx(STILL, abs=0.001)
    shades = [int(frame.image[-1, -1, 0]) for frame in frames]
    assert shades == pytest.approx([0, 30, 60, 90, 120, 150], abs=9)
    assert not video.problem
    assert not uses_pyav or video.rate == 10
    assert len(list(Video(str(path), uses_pyav=uses_pyav).frames(2))) == 2


@pytest.mark.parametrize("uses_pyav", [True, False])
@pytest.mark.parametrize(
    ("rotation", "white"), [(90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1)), (0, (0, 0))]
)
def test_frames_of_phones_are_upright(
    tmp_path: Path, rotation: int, white: tuple[int, int], uses_pyav: bool
) -> None:
    """A turn of 90 degrees against the clock brings the upper left corner to the lower left."""
    path = write(tmp_path / "film.mp4", [0, 0.1], rotation=rotation)
    image = next(Video(str(path), uses_pyav=uses_pyav).frames()).image
    assert image.shape == ((WIDTH, HEIGHT, 3) if rotation % 180 else (HEIGHT, WIDTH, 3))
    corners = {corner: image[corner].mean() > 200 for corner in itertools.product((0, -1), (0, -1))}
    assert corners == {corner: corner == white for corner in corners}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str) -> None:
    """The frames before are read, and the end is reported."""
    path = write(tmp_path / f"film{suffix}", [i / 30 for i in range(120)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    video = Video(str(path))
    assert 20 < len(list(video.frames())) < 110
    assert "of 4.0 seconds: it is cut off or damaged" in video.problem


def test_files_without_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a:b.mp4", [i / 30 for i in range(60)])  # no protocol of FFmpeg
    assert len(list(Video(str(path)).frames())) == 60
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="It is another kind of file, or it is cut off"):
        Video(str(path))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
        silence.sample_rate = 44_100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(DatasetError, match="has no video track; found audio"):
        Video(str(tmp_path / "sound.mp4"))


def reader(stamps: list[float | None], **attributes: Any) -> Any:
    """A reader of black frames with these time stamps."""
    values = {"rate": 10.0, "count": 0, "seconds": 0.0, "damaged": 0, "last_duration": 0.0}
    frames = [(np.zeros((2, 2, 3), np.uint8), stamp) for stamp in stamps]
    methods = {"frames": lambda self: iter(frames), "close": lambda self: None}
    return type("Reader", (), {**values, **attributes, **methods})()


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([5, 5.1, 5.3], [0, 0.1, 0.3]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([0, 0.1, 0.1, 0.2], [0, 0.1, 0.2, 0.3]),
        ([0, 5000, 5000.1], [0, 0.1, 0.2]),
        ([0, 0.5, -3, -2.8], [0, 0.5, 0.6, 0.8]),
    ],
    ids=["start at 0", "missing", "repeated", "a gap of hours", "a step back"],
)
def test_time_stamps_become_increasing_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamps: list, times: list
) -> None:
    monkeypatch.setattr("retina_plugin.inference.video._open", lambda *_, **__: reader(stamps))
    found = [frame.time for frame in Video("film.mp4").frames()]
    assert found == pytest.approx(times)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"seconds": 0.3}, ""),
        ({"seconds": 1.0}, "ends after 0.3 of 1.0 seconds"),
        ({"seconds": 1.0, "count": 3}, ""),  # the last frame is shown longer
        ({"seconds": 0.3, "count": 30}, ""),  # most frames are trimmed off
        ({"seconds": 1.0, "last_duration": 0.8}, ""),
        ({"damaged": 2}, "has 2 pieces that cannot be decoded"),
    ],
)
def test_the_end_of_a_video(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], words: str
) -> None:
    stub = reader([0, 0.1, 0.2], **attributes)
    monkeypatch.setattr("retina_plugin.inference.video._open", lambda *_, **__: stub)
    video = Video("film.mp4")
    assert len(list(video.frames())) == 3
    assert words in video.problem
    assert bool(words) == bool(video.problem)


@pytest.mark.parametrize(
    ("times", "header", "expected"),
    [
        ([i * 1001 / 30000 for i in range(100)], 30000 / 1001, 30000 / 1001),
        ([round(i / 30, 3) for i in range(100)], 0, 30),
        ([i / 30 + (i % 3) * 0.002 for i in range(100)], 29.9, 29.9),
        (np.cumsum([1 / 60, 1 / 60, 0.5] * 30).tolist(), 5.6, 60),
        ([0, 3600, 7200], 0, 1 / 3600),
        ([i / 5000 for i in range(100)], 5000, 240),
        ([0], 12, 12),
        ([], 0, 25),
        ([], 90_000, 25),
    ],
)
def test_frame_rates(times: list[float], header: float, expected: float) -> None:
    assert frame_rate(times, header=header) == pytest.approx(expected)


class Places:
    """Notes the frames that are written."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def write(self, frame: np.ndarray) -> None:
        self.found.append(int(frame[0, 0, 0]))

    def close(self) -> None:
        self.found.append(-1)


@pytest.mark.parametrize(
    ("times", "expected", "words"),
    [
        ([0, 0.1, 0.2], [0, 1, 2, -1], ""),
        ([0, 0.098, 0.203, 0.3], [0, 1, 2, 3, -1], ""),
        (STILL, [0, 1, *[2] * 10, 3, 4, 5, -1], "of 6, 1 are shown longer and 0 left out"),
        ([0, 0.01, 0.1], [1, 2, -1], "of 3, 0 are shown longer and 1 left out"),
        ([], [-1], ""),
    ],
)
def test_frames_keep_their_times_at_a_constant_rate(
    times: list[float], expected: list[int], words: str, capsys: pytest.CaptureFixture
) -> None:
    places = Places()
    writer = ConstantRateWriter(places, "film.mp4", 10)
    for number, time in enumerate(times):
        writer.write(np.full((2, 2, 3), number, np.uint8), time)
    writer.close()
    assert places.found == expected
    printed = capsys.readouterr().out
    assert words in printed
    assert bool(words) == bool(printed)


@pytest.mark.parametrize("rate", [30000 / 1001, 29.97, 1 / 3600])
def test_written_videos_have_the_exact_rate(tmp_path: Path, rate: float) -> None:
    writer = open_video_writer(str(tmp_path / "a.mp4"), rate, (47, 63), shows_window=False)
    for shade in (0, 100, 200):
        writer.write(np.full((47, 63, 3), shade, np.uint8))
    writer.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (48, 64)
        times = sorted(
            float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None
        )
    assert times == pytest.approx([0, 1 / rate, 2 / rate], rel=1e-4)
