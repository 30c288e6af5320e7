"""The metadata of an exported file: keys of this project, of Ultralytics and of OpenVINO.

All values are texts. ``docs/deploy.md`` explains the keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

from retina_plugin.config import get_cfg, leaves
from retina_plugin.config.different_names import different_names
from retina_plugin.export.errors import ExportError
from retina_plugin.modeling.build_views import uses_views

KEY = "retina_plugin"  # of the JSON text with all fields of Description
VERSION = 1  # of these fields

# The keys of a config that decide what happens around the network.
CONFIG_KEYS = (
    "INPUT.FORMAT",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
    "MODEL.RETINANET.NMS_THRESH_TEST",
    "MODEL.RETINANET.BBOX_REG_WEIGHTS",
    "MODEL.RETINA_PLUGIN.IMPORTS",
    "MODEL.RETINA_PLUGIN.BOX_CODER",
    "MODEL.RETINA_PLUGIN.SUPPRESSOR",
    "MODEL.RETINA_PLUGIN.TEST",
    "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE",
    "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS",
    "MODEL.RETINA_PLUGIN.INPUT.RESIZER",
    "TEST.DETECTIONS_PER_IMAGE",
    "TEST.AUG",
)


@dataclass(frozen=True)
class Description:
    """What a program needs to know to use an exported network.

    Attributes:
        version: :data:`VERSION`.
        outputs: "raw", "boxes" or "detections".
        class_names: K names.
        channel_order: "BGR" or "RGB", the order of the input's channels.
        pixel_mean, pixel_std: of each channel in that order, for values 0..255.
        min_size, max_size: the resize rule, see
            :func:`retina_plugin.modeling.preprocessing.resized_shape`.
        stride: divisor of the height and width of a batch.
        size: (height, width) of a batch; None if every multiple of ``stride`` is possible.
        strides: pixels per cell of each level.
        anchors_per_cell: A.
        score_threshold, nms_threshold, topk_candidates, max_detections: of the post-processing.
        score_thresholds: {class name: score}, the thresholds with the highest F1; may be empty.
        config: {key: value} of the keys of :data:`CONFIG_KEYS` that differ from their defaults.
    """

    version: int
    outputs: str
    class_names: list[str]
    channel_order: str
    pixel_mean: list[float]
    pixel_std: list[float]
    min_size: int
    max_size: int
    stride: int
    size: list[int] | None
    strides: list[int]
    anchors_per_cell: int
    score_threshold: float
    nms_threshold: float
    topk_candidates: int
    max_detections: int
    score_thresholds: dict[str, float]
    config: dict[str, Any]

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a file."""
        return {KEY: json.dumps(asdict(self)), **_ultralytics(self), **_openvino(self)}

    def build_config(self) -> Any:
        """Return a config with the values of ``config``.

        Raises:
            ConfigError: this version of the package does not have a key.
            ImportError: a module of the model's parts is missing.
        """
        cfg = get_cfg()
        cfg.merge_from_list([word for pair in self.config.items() for word in pair])
        return cfg


def describe(
    model: Any,
    cfg: Any,
    *,
    class_names: list[str],
    score_thresholds: Mapping[str, float],
    outputs: str,
    size: tuple[int, int] | None,
) -> Description:
    """Describe a network that is exported.

    Args:
        model: the model, a ``RetinaNet``.
        cfg: its config.
        class_names: K names.
        score_thresholds: of the checkpoint's metadata; may be empty.
        outputs, size: see :class:`Description`.
    """
    return Description(
        version=VERSION,
        outputs=outputs,
        class_names=class_names,
        channel_order=cfg.INPUT.FORMAT,
        pixel_mean=[float(x) for x in cfg.MODEL.PIXEL_MEAN],
        pixel_std=[float(x) for x in cfg.MODEL.PIXEL_STD],
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        stride=max(model.preprocessor.size_divisibility, 1),
        size=None if size is None else list(size),
        strides=list(model.anchor_generator.strides),
        anchors_per_cell=model.anchor_generator.num_anchors,
        score_threshold=cfg.MODEL.RETINANET.SCORE_THRESH_TEST,
        nms_threshold=cfg.MODEL.RETINANET.NMS_THRESH_TEST,
        topk_candidates=cfg.MODEL.RETINANET.TOPK_CANDIDATES_TEST,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        score_thresholds=dict(score_thresholds),
        config=_changed_values(cfg),
    )


def _changed_values(cfg: Any) -> dict[str, Any]:
    defaults = dict(leaves(get_cfg()))
    names = [key for key in CONFIG_KEYS if uses_views(cfg) or key != "TEST.AUG"]
    return {
        key: value
        for key, value in leaves(cfg)
        if any(key == name or key.startswith(f"{name}.") for name in names)
        and (key not in defaults or defaults[key] != value)
    }


def read_description(metadata: Mapping[str, str], path: str) -> Description:
    """Read the metadata of a file.

    Args:
        metadata: of the file.
        path: the file, for messages.

    Raises:
        ExportError: the file was not written by ``retina export``, or by a newer version.
    """
    text = metadata.get(KEY)
    if text is None:
        raise ExportError(
            f"{path} has no metadata {KEY!r}: it was not written by retina export. Export the "
            "checkpoint again."
        )
    try:
        found = json.loads(text)
        known = {field.name for field in fields(Description)}
        if found.get("version") != VERSION:
            raise ExportError(
                f"{path} has metadata of version {found.get('version')}, and this program reads "
                f"version {VERSION}: export the checkpoint again"
            )
        return Description(**{name: found[name] for name in known})
    except (json.JSONDecodeError, AttributeError, KeyError) as error:
        raise ExportError(
            f"{path}: its metadata {KEY!r} cannot be read ({error!r:.80}): export the checkpoint "
            "again"
        ) from error


def _ultralytics(found: Description) -> dict[str, str]:
    size = found.size or [found.min_size or found.max_size, found.max_size]
    return {
        "description": "RetinaNet with focal loss",
        "author": "retina_plugin",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": str(found.version),
        "docs": "docs/deploy.md of retina_plugin",
        "stride": str(found.stride),
        "task": "detect",
        "batch": "1",
        "imgsz": str(size),
        "names": str(dict(enumerate(found.class_names))),
        "args": str({"dynamic": found.size is None, "nms": found.outputs == "detections"}),
        "channels": "3",
        "end2end": str(found.outputs == "detections"),
    }


def _openvino(found: Description) -> dict[str, str]:
    """Return the keys of OpenVINO's Model API, which are "model_info <name>" outside of OpenVINO's
    own files."""
    values = {
        "model_type": "RetinaNet",
        "labels": " ".join(
            different_names(found.class_names, plain=lambda name: "_".join(name.split()) or "_")
        ),
        "confidence_threshold": str(found.score_threshold),
        "iou_threshold": str(found.nms_threshold),
        "mean_values": " ".join(map(str, found.pixel_mean)),
        "scale_values": " ".join(map(str, found.pixel_std)),
        # images of OpenCV have BGR order
        "reverse_input_channels": str(found.channel_order == "RGB"),
        "resize_type": "fit_to_window",
        "pad_value": "0",
        "embedded_processing": "False",
    }
    return {f"model_info {name}": value for name, value in values.items()}
