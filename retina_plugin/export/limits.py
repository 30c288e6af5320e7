"""What a file cannot contain: errors before it is written, and notes for other programs."""

from __future__ import annotations

from typing import Any

from retina_plugin.export.errors import ExportError
from retina_plugin.export.images import most_frequent_size
from retina_plugin.export.nms_graph import require_nms
from retina_plugin.modeling.preprocessing import Size
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.suppressors import NMS

SUPPRESSES = ("onnx", "openvino")  # the formats of files that can contain the suppression


def require_suppression(model: RetinaNet, format: str) -> None:
    """Check that a file of a format can contain the post-processing of a model.

    Raises:
        ExportError: it cannot.
    """
    if format not in SUPPRESSES:
        raise ExportError(
            f"--outputs detections: possible with --format {' and '.join(SUPPRESSES)}; "
            f"{format} files have raw outputs or boxes"
        )
    require_nms(model.postprocessor)
    if model.views is not None:
        raise ExportError(
            "--outputs detections: the file sees whole images only. Set "
            "MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE 0 and TEST.AUG.ENABLED False, or use --outputs "
            "boxes, with which this package also detects in slices"
        )


def fixed_size(model: RetinaNet, cfg: Any, size: Size | None) -> tuple[Size, str]:
    """Return the size of the input of a file with suppression, and a line about it.

    Args:
        model: the model.
        cfg: its config.
        size: (height, width); None for the size of most test images.

    Raises:
        ExportError: the size is no multiple of the stride, or no test set is on this machine.
    """
    stride = max(model.preprocessor.size_divisibility, 1)
    if size is not None:
        if size[0] % stride or size[1] % stride:
            raise ExportError(
                f"--size {size[0]}x{size[1]}: height and width must be multiples of {stride}"
            )
        return size, f"input of {size[0]}x{size[1]} pixels"
    found = most_frequent_size(cfg, stride)
    if found is None:
        raise ExportError(
            "--outputs detections needs --size HEIGHTxWIDTH, because no test set of the run is on "
            "this machine"
        )
    (height, width), note = found
    return (height, width), f"input of {height}x{width} pixels: {note}"


def notes_for_other_programs(model: RetinaNet) -> list[str]:
    """Return a line for each step that this package does after a file without suppression, and that
    other programs do not know: another suppressor than NMS, and views."""
    suppressor = model.postprocessor.suppressor
    steps = []
    if type(suppressor) is not NMS:
        name = type(suppressor).__name__
        steps.append(f"suppresses with {name} (MODEL.RETINA_PLUGIN.SUPPRESSOR.NAME)")
    if model.views is not None:
        steps.append(
            "detects in several views of an image (MODEL.RETINA_PLUGIN.TEST.SLICE, TEST.AUG)"
        )
    return [
        f"note: the checkpoint {step}, which is not in the file. This package does it when it runs "
        "the file; other programs must do it themselves"
        for step in steps
    ]
