"""Detect objects in all inputs of a command, and write the results."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from retina_plugin.config.disk import DiskError
from retina_plugin.data import DatasetError
from retina_plugin.engine.output_folder import make_folder
from retina_plugin.engine.stopping import Interrupted
from retina_plugin.inference.detector import Detector, Failure
from retina_plugin.inference.outputs import OUTPUTS, Request
from retina_plugin.inference.outputs.names import OutputNames
from retina_plugin.inference.outputs.output import Output
from retina_plugin.inference.result import Result
from retina_plugin.inference.source_files import Source, is_video
from retina_plugin.inference.video import Video
from retina_plugin.inference.window import Window
from retina_plugin.report import LabelMode


@dataclass
class Summary:
    """What was done.

    Attributes:
        images: number of images and frames.
        detections: number of detections.
        failures: messages of inputs that could not be used, or not completely.
        seconds: time of reading, detecting and writing.
    """

    images: int = 0
    detections: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def describe(self, folder: str, places: Sequence[str]) -> str:
        """Return the last line of the command: counts, speed and what ``folder`` contains."""
        rate = f" ({self.images / self.seconds:.1f} images/s)" if self.images else ""
        return (
            f"{self.detections} detections in {self.images} images{rate}; in {folder}: "
            f"{', '.join(places)}"
        )


class Prediction:
    """Detects objects in images, videos and webcams, one after the other, and writes the results.

    An input that cannot be used is reported in one line, and the others are done.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        threshold: float | None,
        max_frames: int,
        names: OutputNames,
        outputs: Sequence[Output],
        labels: LabelMode,
        window: Window | None,
    ) -> None:
        """
        Args:
            detector: the model.
            threshold: see :meth:`Detector.__call__`.
            max_frames: the largest number of frames of each video; 0 for all.
            names: names of the inputs.
            outputs: write the results.
            labels: of the window, see :meth:`Result.plot`.
            window: shows the results; None for none.
        """
        self.detector, self.max_frames, self.names = detector, max_frames, names
        self.limits: torch.Tensor = detector.limits(threshold)
        self.outputs, self.labels, self.window = outputs, labels, window
        self.summary, self._is_ended = Summary(), False

    def run(self, sources: Sequence[Source]) -> None:
        """Process the sources, the images first.

        Raises:
            DiskError: a file cannot be written.
        """
        started = time.perf_counter()
        try:
            self._run_images([s for s in sources if isinstance(s, str) and not is_video(s)])
            for source in sources:
                if (isinstance(source, int) or is_video(source)) and not self._is_ended:
                    self._run_video(source)
        finally:
            self.summary.seconds = time.perf_counter() - started

    def _run_images(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        found = self.detector.detect_files(paths, self.limits)
        with contextlib.closing(found), tqdm(total=len(paths), unit="image") as bar:
            for result in found:
                if isinstance(result, Failure):
                    self._fail(result.message)
                else:
                    self._add(result, self.names.of(result.source))
                bar.update()
                if self._is_ended:
                    return

    def _run_video(self, source: Source) -> None:
        try:
            video = Video(source, uses_pyav=self.window is None)
        except (DatasetError, ImportError) as error:
            self._fail(str(error))
            return
        with self._video_outputs(source, video):
            try:
                self._add_frames(source, video)
            except DatasetError as error:
                self._fail(str(error))
        if video.problem:
            self._fail(video.problem)

    def _add_frames(self, source: Source, video: Video) -> None:
        limit = self.max_frames
        total = min(limit or video.count, video.count) if video.count else limit or None
        found = self.detector.detect_video(video, self.limits, max_frames=limit)
        with contextlib.closing(found), tqdm(total=total, unit="frame", leave=False) as bar:
            for result in found:
                self._add(result, self.names.of(source, result.frame))
                bar.update()
                if self._is_ended:
                    return

    @contextlib.contextmanager
    def _video_outputs(self, source: Source, video: Video) -> Iterator[None]:
        for output in self.outputs:
            output.start_video(self.names.of(source), video.rate)
        try:
            yield
        finally:
            for output in self.outputs:
                output.end_video()

    def _add(self, result: Result, name: str) -> None:
        for output in self.outputs:
            output.add(result, name)
        self.summary.images += 1
        self.summary.detections += len(result["scores"])
        if self.window is not None:
            image = result.plot(labels=self.labels)
            self._is_ended = not self.window.show(image, waits=result.frame is None)

    def _fail(self, message: str) -> None:
        self.summary.failures.append(message)
        tqdm.write(f"failed: {message}", file=sys.stderr)


def predict(
    detector: Detector,
    sources: Sequence[Source],
    folder: str,
    *,
    save: Sequence[str],
    labels: LabelMode = "auto",
    threshold: float | None = None,
    max_frames: int = 0,
    shows_window: bool = False,
) -> Summary:
    """Detect objects in the inputs of a command, and write the results into a folder.

    Args:
        detector: the model.
        sources: see :func:`retina_plugin.inference.source_files.find_sources`.
        folder: made if it does not exist.
        save: keys of :data:`retina_plugin.inference.outputs.OUTPUTS`.
        labels: see :meth:`Result.plot`.
        threshold: see :meth:`Detector.__call__`.
        max_frames: the largest number of frames of each video; 0 for all.
        shows_window: whether to show each image.

    Returns:
        What was done. Inputs that cannot be used are no error; their messages are in ``failures``.

    Raises:
        ConfigError: the folder cannot be written to, or no window can be opened.
        DiskError: a file cannot be written. Files that were written before are complete.
        Interrupted: a signal stopped the command. The files have what was found before.
    """
    window = Window() if shows_window else None
    make_folder(folder, key="--output")
    names = OutputNames(sources)
    request = Request(folder, sources, detector.class_names, names, labels, shows_window)
    outputs = [OUTPUTS[name](request) for name in dict.fromkeys(save)]
    work = Prediction(
        detector,
        threshold=threshold,
        max_frames=max_frames,
        names=names,
        outputs=outputs,
        labels=labels,
        window=window,
    )
    places = [output.place for output in outputs]
    complete = False
    try:
        work.run(sources)
        complete = True
    except KeyboardInterrupt as error:
        complete = True
        number = getattr(error, "number", signal.SIGINT)
        message = f"stopped after {work.summary.describe(folder, places)}"
        raise Interrupted(number, message) from None
    finally:
        _close(outputs, complete=complete)
        if window is not None:
            window.close()
    print(work.summary.describe(folder, places))
    return work.summary


def _close(outputs: Sequence[Output], *, complete: bool) -> None:
    """Close all outputs, also if one cannot be written."""
    errors = []
    for output in outputs:
        try:
            output.close(complete=complete)
        except DiskError as error:
            errors.append(error)
    if errors and complete:
        raise errors[0]
