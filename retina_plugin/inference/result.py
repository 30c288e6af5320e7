"""The detections of one image."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from retina_plugin.evaluation.coco import coco_results
from retina_plugin.modeling.structures import Detections
from retina_plugin.report import (
    LabelMode,
    draw_boxes,
    draw_with_legend,
    resize_for_display,
    write_image,
)

if TYPE_CHECKING:
    import pandas

SHORTEST_SIDE = 300  # pixels; smaller images are enlarged in files, so that labels can be read
LONGEST_SIDE = 65_500  # pixels; the limit of JPEG


class Result(dict[str, Tensor]):
    """The detections of an image: "boxes" (M, 4) XYXY in pixels, "scores" (M,) in descending order
    and "labels" (M,) int64 in [0, K); M may be 0.

    ``supervision.Detections.from_transformers`` reads it.

    Attributes:
        class_names: K names.
        source: the file; "webcam 0" for a webcam, "" for an array.
        frame: the number of the frame of a video, from 0; None for an image.
        time: seconds since the first frame; None for an image.
        size: (height, width) of the image.
    """

    def __init__(
        self,
        detections: Detections,
        *,
        class_names: Sequence[str],
        image: np.ndarray | None,
        size: tuple[int, int],
        source: str = "",
        frame: int | None = None,
        time: float | None = None,
        read: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            detections: of the image.
            class_names, source, frame, time, size: see the class.
            image: (H, W, 3) uint8 RGB; None if ``read`` returns it.
            read: reads the image again, so that many results need no memory for their images.
        """
        super().__init__(detections)
        self.class_names, self.source = tuple(class_names), source
        self.frame, self.time = frame, time
        self.size, self._image, self._read = size, image, read

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB; that of a file is read again.

        Raises:
            DatasetError: the file cannot be read any more.
        """
        if self._image is not None:
            return self._image
        assert self._read is not None
        return self._read()

    @property
    def names(self) -> list[str]:
        """The class names of the M detections."""
        return [self.class_names[label] for label in self["labels"].tolist()]

    def release_image(self) -> None:
        """Free the memory of the image, if it can be read again."""
        if self._read is not None:
            self._image = None

    def plot(self, *, labels: LabelMode = "auto") -> np.ndarray:
        """Draw the detections on a copy of the image.

        Args:
            labels: "auto" leaves out labels that would hide objects, "all" shows all, "none" none.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        return self._draw(draw_boxes, self.image, self["boxes"].numpy(), labels)

    def picture(self, *, labels: LabelMode = "auto") -> np.ndarray:
        """Draw the detections for a file: small images are enlarged, and a legend below the image
        explains boxes without a label.

        Args:
            labels: see :meth:`plot`.

        Returns:
            (H, W, 3) uint8 RGB; H and W can differ from :attr:`size`.
        """
        image, boxes = resize_for_display(
            self.image, self["boxes"].numpy(), min_side=SHORTEST_SIDE, max_side=LONGEST_SIDE
        )
        return self._draw(draw_with_legend, image, boxes, labels)

    def _draw(
        self, draw: Callable[..., np.ndarray], image: np.ndarray, boxes: np.ndarray, mode: LabelMode
    ) -> np.ndarray:
        return draw(
            image,
            boxes,
            self["labels"].tolist(),
            class_names=self.class_names,
            scores=self["scores"].tolist(),
            label_mode=mode,
        )

    def save(self, path: str, *, labels: LabelMode = "auto") -> None:
        """Write :meth:`picture` to a file; its suffix is the format, such as ".jpg".

        Raises:
            ValueError: no picture can have this suffix.
            DiskError: the file cannot be written.
        """
        write_image(path, self.picture(labels=labels))

    def to_coco(
        self, image_id: Any = 1, *, category_ids: Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return the detections in COCO's results format.

        Args:
            image_id: the id of the image in the annotation file.
            category_ids: K ids of the annotation file; None for 1..K.

        Returns:
            M dicts with "image_id", "category_id", "bbox" as XYWH, and "score".

        Raises:
            ValueError: ``category_ids`` has not K entries.
        """
        count = len(self.class_names)
        ids = list(range(1, count + 1) if category_ids is None else category_ids)
        if len(ids) != count:
            raise ValueError(
                f"category_ids: expected {count}, one for each class, found {len(ids)}"
            )
        return coco_results(image_id, self, ids)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with the columns x0, y0, x1, y1, score, label and class, and M rows.

        Raises:
            ImportError: pandas is not installed.
        """
        frame = _pandas().DataFrame(
            self["boxes"].numpy(), columns=["x0", "y0", "x1", "y1"], dtype="float64"
        )
        columns = {"score": self["scores"].numpy(), "label": self["labels"].numpy()}
        table: pandas.DataFrame = frame.assign(**columns, **{"class": self.names})
        return table


@functools.cache
def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"to_pandas() needs pandas ({error}): pip install pandas") from error
    return pandas
