"""Write files for each image: pictures and videos with boxes, YOLO's labels, and crops."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence

import numpy as np

from retina_plugin.config.different_names import different_names
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import write_atomically
from retina_plugin.inference.outputs.constant_rate import ConstantRateWriter
from retina_plugin.inference.outputs.names import safe_part
from retina_plugin.inference.outputs.output import Output
from retina_plugin.inference.outputs.video_writer import open_video_writer
from retina_plugin.inference.result import LONGEST_SIDE, Result
from retina_plugin.report import LabelMode, resize_for_display, write_image


class Pictures(Output):
    """``pictures/NAME.jpg`` with boxes for each image, and ``pictures/NAME.mp4`` for each video."""

    place = "pictures"

    def __init__(
        self, folder: str, *, labels: LabelMode, inputs: Collection[str], shows_window: bool
    ) -> None:
        """
        Args:
            folder: the output folder.
            labels: see :meth:`Result.plot`.
            inputs: paths that must not be written to.
            shows_window: whether a window is open, see :func:`open_video_writer`.
        """
        self._folder, self._labels, self._shows_window = folder, labels, shows_window
        self._inputs = {os.path.realpath(path) for path in inputs}
        self._video: tuple[str, float] | None = None
        self._writer: ConstantRateWriter | None = None

    def add(self, result: Result, name: str) -> None:
        if result.frame is None:
            write_image(self._path(f"{name}.jpg"), result.picture(labels=self._labels))
            return
        assert self._video is not None
        assert result.time is not None
        image = result.plot(labels=self._labels)
        if self._writer is None:
            path, rate = self._video
            writer = open_video_writer(path, rate, image.shape[:2], shows_window=self._shows_window)
            self._writer = ConstantRateWriter(writer, path, rate)
        self._writer.write(image, result.time)

    def start_video(self, name: str, rate: float) -> None:
        self._video = self._path(f"{name}.mp4"), rate

    def end_video(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _path(self, name: str) -> str:
        path = _made(self._folder, self.place, name)
        if os.path.realpath(path) in self._inputs:
            raise ConfigError(f"{path} is an input: choose another --output")
        return path


class YoloLabels(Output):
    """``labels/NAME.txt`` with a row "class x y width height" for each box, in shares of the
    image, and ``classes.txt``. There is a file for images without detections too."""

    place = "labels"

    def __init__(self, folder: str, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder, class_names

    def add(self, result: Result, name: str) -> None:
        height, width = result.size
        text = ""
        for (x0, y0, x1, y1), label in zip(
            result["boxes"].tolist(), result["labels"].tolist(), strict=True
        ):
            centre = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height
            values = (*centre, (x1 - x0) / width, (y1 - y0) / height)
            text += f"{label} {' '.join(f'{v:.6f}' for v in values)}\n"
        write_atomically(_made(self._folder, self.place, f"{name}.txt"), text)

    def close(self, *, complete: bool) -> None:
        if complete:
            names = different_names(self._class_names, plain=_one_line)
            text = "".join(f"{name}\n" for name in names)
            write_atomically(os.path.join(self._folder, "classes.txt"), text)


def _one_line(name: str) -> str:
    return " ".join(name.split()) or "_"


class Crops(Output):
    """``crops/CLASS/NAME_0.jpg`` for each detection: the pixels that its box touches."""

    place = "crops"

    def __init__(self, folder: str, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_folders = different_names(class_names, plain=safe_part)

    def add(self, result: Result, name: str) -> None:
        if not result.names:
            return
        image = result.image
        for number, (box, label) in enumerate(
            zip(result["boxes"].tolist(), result["labels"].tolist(), strict=True)
        ):
            crop, _ = resize_for_display(_crop(image, box), [], min_side=1, max_side=LONGEST_SIDE)
            class_folder = self._class_folders[label]
            path = _made(self._folder, self.place, class_folder, f"{name}_{number}.jpg")
            write_image(path, crop)


def _crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Return the pixels that a box touches; at least one row and column."""
    height, width = image.shape[:2]
    x0, y0 = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
    return image[y0 : max(math.ceil(box[3]), y0 + 1), x0 : max(math.ceil(box[2]), x0 + 1)]


def _made(*parts: str) -> str:
    """Return a path, and make its folder."""
    path = os.path.join(*parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path
