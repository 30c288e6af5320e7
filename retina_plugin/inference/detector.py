"""A trained or exported model that detects objects in files, arrays, videos and webcams."""

from __future__ import annotations

import functools
import itertools
import numbers
import os
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from retina_plugin.data import DatasetError, image_options, read_image
from retina_plugin.data.headers import INPUT
from retina_plugin.data.images import MissingRangeError
from retina_plugin.engine.process import user_message
from retina_plugin.inference.image_input import to_rgb
from retina_plugin.inference.predictor import Predictor
from retina_plugin.inference.read_ahead import read_ahead
from retina_plugin.inference.result import Result
from retina_plugin.inference.source_files import find_sources, is_many, is_video
from retina_plugin.inference.video import Video

RANGE = f"{INPUT}.PIXEL_RANGE"
DEFAULT_THRESHOLD = 0.5  # for classes without a stored threshold


class Failure(NamedTuple):
    """A file that could not be used.

    Attributes:
        source: its path.
        message: what is wrong; names the file.
    """

    source: str
    message: str


class Detector:
    """Detects objects in images and videos; :func:`retina_plugin.load` makes it.

    Examples:
        >>> detector = retina_plugin.load("out")
        >>> found = detector("photo.jpg")
        >>> found["boxes"], found["scores"], found["labels"]
        >>> found.save("found.jpg")
        >>> for found in detector("folder"):
        ...     print(found.source, found.names)
    """

    def __init__(self, predictor: Predictor, *, batch_size: int = 1) -> None:
        """
        Args:
            predictor: the model.
            batch_size: how many images of a list or folder are processed together, if they have the
                same size. More than 1 is faster on a GPU, and changes the last digits of scores and
                boxes.
        """
        self.predictor, self.batch_size = predictor, batch_size
        self._options = image_options(predictor.cfg)

    @property
    def class_names(self) -> list[str]:
        """K names."""
        return self.predictor.class_names

    @property
    def thresholds(self) -> dict[str, float]:
        """{class name: score}: a detection is kept if its score is at least that of its class.

        They are stored in the checkpoint; classes without a stored one have 0.5.
        """
        stored = self.predictor.score_thresholds
        return {name: stored.get(name, DEFAULT_THRESHOLD) for name in self.class_names}

    def __call__(
        self, source: Any, *, threshold: float | None = None
    ) -> Result | list[Result] | Iterator[Result]:
        """Detect objects.

        Args:
            source: one image: a path, a PIL image, an array (H, W, 3) uint8 RGB, or a tensor
                (3, H, W) uint8 RGB; see :func:`retina_plugin.inference.image_input.to_rgb`. Or a
                list of them. Or many images: a folder, a glob, a video, or the number of a webcam.
                An array from OpenCV is BGR: give ``array[:, :, ::-1]``.
            threshold: in 0..1, for all classes; None for :attr:`thresholds`. 0 keeps all detections
                that an evaluation uses.

        Returns:
            A result for one image, a list of N results for N images, or an iterator for many
            images, which detects when it is read. It skips files that cannot be read, with a
            warning.

        Raises:
            DatasetError: a file cannot be used, or there is none.
            ValueError: the image or the threshold cannot be used.
        """
        limits = self.limits(threshold)
        if isinstance(source, (list, tuple)):
            return list(self._detect_list(source, limits))
        if isinstance(source, int) and not isinstance(source, bool):
            return self._detect_sources([str(source)], limits)
        if isinstance(source, (str, os.PathLike)):
            path = os.path.expanduser(os.fspath(source))
            if is_many(path):
                return self._detect_sources([path], limits)
        return next(self._detect_list([source], limits))

    def limits(self, threshold: float | None) -> torch.Tensor:
        """Return the thresholds (K,) for a ``threshold`` of :meth:`__call__`.

        Raises:
            ValueError: the threshold is outside of 0..1.
        """
        if threshold is None:
            thresholds = self.thresholds
            return torch.tensor([thresholds[name] for name in self.class_names])
        is_number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
        if not is_number or not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected a number from 0 to 1, found {threshold!r}")
        return torch.full((len(self.class_names),), float(threshold))

    def detect_files(
        self, paths: Sequence[str], limits: torch.Tensor
    ) -> Generator[Result | Failure, None, None]:
        """Detect objects in image files, which are read in threads.

        Args:
            paths: N files.
            limits: see :meth:`limits`.

        Yields:
            N results or failures, in order.
        """
        batch: list[tuple[str, np.ndarray | Failure]] = []
        ahead = max(2 * self.batch_size, 4)
        for path, future in read_ahead(self._read, paths, ahead=ahead):
            try:
                image: np.ndarray | Failure = future.result()
            except Exception as error:
                image = _failure(path, error)
            batch.append((path, image))
            if len(batch) == self.batch_size:
                yield from self._detect_batch(batch, limits)
                batch = []
        yield from self._detect_batch(batch, limits)

    def detect_video(
        self, video: Video, limits: torch.Tensor, *, max_frames: int = 0
    ) -> Generator[Result, None, None]:
        """Detect objects in the frames of a video.

        Args:
            video: an open video; it is closed at the end.
            limits: see :meth:`limits`.
            max_frames: the largest number of frames; 0 for all.

        Yields:
            A result for each frame, in order.

        Raises:
            DatasetError: no frame can be read.
        """
        size = 1 if video.is_webcam else self.batch_size  # a live picture must not wait for others
        frames = enumerate(video.frames(max_frames))
        while batch := list(itertools.islice(frames, size)):
            images = [frame.image for _, frame in batch]
            for (number, frame), found in zip(
                batch, self._detect_together(images, limits), strict=True
            ):
                yield self._result(
                    found, frame.image, source=video.name, frame=number, time=frame.time
                )

    def _detect_together(
        self, images: Sequence[np.ndarray], limits: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        """Detect in images of one batch; if memory runs out, in one after the other."""
        try:
            return self._detect(images, limits)
        except Exception as error:
            if len(images) == 1 or not _is_out_of_memory(error):
                raise
        return [self._detect([image], limits)[0] for image in images]

    def _read(self, path: str) -> np.ndarray:
        pixel_range = self._options["pixel_range"]
        try:
            image = read_image(path, **self._options)
        except MissingRangeError as error:
            raise DatasetError(
                f"image {path} is a {error.pixels}, and the model was trained on 8-bit images: its "
                f"values for black and white are unknown. Set them: --opts {RANGE} '[0, 65535]', "
                f"or in Python overrides=['{RANGE}', [0, 65535]]"
            ) from error
        if pixel_range is not None and image.min() == image.max():
            warnings.warn(
                f"image {path} is one shade: are its values in the pixel range of the training, "
                f"{list(pixel_range)}?",
                stacklevel=2,
            )
        return image

    def _detect_list(self, sources: Sequence[Any], limits: torch.Tensor) -> Iterator[Result]:
        for start in range(0, len(sources), self.batch_size):
            batch = sources[start : start + self.batch_size]
            images = [
                self._to_image(source, number, len(sources))
                for number, source in enumerate(batch, start=start)
            ]
            detections = self._detect(images, limits)
            for source, image, found in zip(batch, images, detections, strict=True):
                if isinstance(source, (str, os.PathLike)):
                    yield self._of_file(found, image, os.fspath(source))
                else:
                    yield self._result(found, image)

    def _to_image(self, source: Any, number: int, count: int) -> np.ndarray:
        """Return the pixels of a source, the one with the index ``number`` of ``count``."""
        if not isinstance(source, (str, os.PathLike)):
            try:
                return to_rgb(source, pixel_range=self._options["pixel_range"])
            except ValueError as error:
                if count == 1:
                    raise
                raise ValueError(f"image {number} of the list: {error}") from error
        path = os.path.expanduser(os.fspath(source))
        if os.path.isdir(path) or is_video(path):
            raise ValueError(f"{path}: a folder or a video must be given alone, not in a list")
        return self._read(path)

    def _detect_sources(self, words: Sequence[str], limits: torch.Tensor) -> Iterator[Result]:
        return self._stream(find_sources(words), limits)  # errors of names come at the call

    def _stream(self, sources: Sequence[str | int], limits: torch.Tensor) -> Iterator[Result]:
        files = [s for s in sources if isinstance(s, str) and not is_video(s)]
        videos = [s for s in sources if isinstance(s, int) or is_video(s)]
        failures: list[Failure] = []
        for found in self.detect_files(files, limits):
            if isinstance(found, Result):
                yield found
                continue
            failures.append(found)
            warnings.warn(f"skipped: {found.message}", stacklevel=2)
        if files and len(failures) == len(files) and not videos:
            raise DatasetError(failures[0].message)
        for source in videos:
            video = Video(source)
            yield from self.detect_video(video, limits)
            if video.problem:
                warnings.warn(video.problem, stacklevel=2)

    def _detect_batch(
        self, batch: Sequence[tuple[str, np.ndarray | Failure]], limits: torch.Tensor
    ) -> Iterator[Result | Failure]:
        """Detect in images that may be failures; if memory runs out, in one after the other."""
        images = {i: x for i, (_, x) in enumerate(batch) if isinstance(x, np.ndarray)}
        try:
            detections = self._detect(list(images.values()), limits)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    yield from self._detect_batch([entry], limits)
            else:
                yield _failure(batch[0][0], error)
            return
        found = dict(zip(images, detections, strict=True))
        for i, (path, image) in enumerate(batch):
            if isinstance(image, Failure):
                yield image
            else:
                yield self._of_file(found[i], image, path)

    def _detect(
        self, images: Sequence[np.ndarray], limits: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        tensors = [
            torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1)
            for image in images
        ]
        detections = []
        for found in self.predictor.predict(tensors):
            kept = found["scores"] >= limits[found["labels"]]
            detections.append({name: value[kept] for name, value in found.items()})
        return detections

    def _of_file(self, found: dict[str, torch.Tensor], image: np.ndarray, path: str) -> Result:
        read = functools.partial(read_image, os.path.expanduser(path), **self._options)
        return self._result(found, image, source=path, read=read)

    def _result(self, found: dict[str, torch.Tensor], image: np.ndarray, **origin: Any) -> Result:
        height, width = image.shape[:2]
        return Result(
            found, class_names=self.class_names, image=image, size=(height, width), **origin
        )


def _failure(path: str, error: Exception) -> Failure:
    """Return the failure of one file; raise errors that are not about the file or memory."""
    if isinstance(error, DatasetError):
        return Failure(path, str(error))
    if not _is_out_of_memory(error):
        raise error
    return Failure(path, f"{path}: memory ran out: {user_message(error)}")


def _is_out_of_memory(error: Exception) -> bool:
    return user_message(error) is not None and isinstance(error, (MemoryError, RuntimeError))
