"""Detect objects in images, videos or from a webcam. Write the images and videos with boxes, and
all detections as JSON.

    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth \\
        --input photo.jpg folder 'more/*.png'
    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth \\
        --input film.mp4
    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth --webcam
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
# first, to handle Ctrl-C during imports
from command_line import COUNT, Parser, fraction_below_1, integer_between

# isort: split
import argparse
import glob
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from retina_plugin import build_model, get_cfg, load_weights
from retina_plugin.checkpoint import WeightsError, class_names_of, metadata_of, read_checkpoint
from retina_plugin.config.files import require_regular_file, write_atomically
from retina_plugin.data import (
    DatasetError,
    evaluated_sets,
    image_options,
    load_dataset,
    read_image,
)
from retina_plugin.data.opencv import import_opencv
from retina_plugin.engine.process import SkippedFiles, run
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_images import set_pixel_range_from_metadata
from retina_plugin.engine.stopping import Interrupted
from retina_plugin.modeling.build_views import averages_scores
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections
from retina_plugin.report import draw_boxes, resize_for_display, write_image

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")

Source = str | int  # path of an image or a video, or the number of a webcam
Detect = Callable[[np.ndarray], Detections]  # an image (H, W, 3) RGB -> its detections


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="config.yaml of the training"
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint; else MODEL.WEIGHTS of the config"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="PATH", help="images, videos, folders of them, and globs"
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        type=integer_between(0, 1000),
        const=0,
        metavar="NUMBER",
        help="read from a webcam until Ctrl-C or --max-frames",
    )
    parser.add_argument("--output", default="detections", metavar="FOLDER")
    parser.add_argument(
        "--confidence-threshold",
        type=fraction_below_1,
        default=0.5,
        help="detections with lower scores are not shown or written (0.5)",
    )
    parser.add_argument(
        "--max-frames", type=COUNT, default=0, help="frames of each video or webcam; 0: all"
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of config keys, last",
    )
    return parser.parse_args(argv)


def load(args: argparse.Namespace) -> tuple[RetinaNet, list[str], dict[str, Any]]:
    """Build the model in evaluation mode and load its weights.

    Returns:
        The model; its class names; the options for reading images, see
        :func:`retina_plugin.data.image_options`. The class names come from the checkpoint,
        otherwise from the config's data sets, otherwise they are "class 0", "class 1", ... If
        ``PIXEL_RANGE`` is auto, it comes from the checkpoint.

    Raises:
        WeightsError: no checkpoint is given, or it does not match the model.
        ConfigError: the config cannot be used.
    """
    cfg = read_config(get_cfg(), args.config_file, args.opts)
    if not averages_scores(cfg):  # the same detections, but fewer candidates
        cfg.MODEL.RETINANET.SCORE_THRESH_TEST = args.confidence_threshold
    path = args.weights or cfg.MODEL.WEIGHTS
    if not path:
        raise WeightsError("no checkpoint: add --weights path/to/model_final.pth")
    names = class_names_of(metadata_of(read_checkpoint(path)), path) or list(_names_from_data(cfg))
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        if not names:
            raise WeightsError(
                f"{path} does not name its classes: add --opts "
                "MODEL.RETINANET.NUM_CLASSES <how many>"
            )
        cfg.MODEL.RETINANET.NUM_CLASSES = len(names)
    model = build_model(cfg)
    set_pixel_range_from_metadata(cfg, load_weights(model, path), path)
    if len(names) != model.num_classes:
        names = [f"class {i}" for i in range(model.num_classes)]
    return model.eval(), names, image_options(cfg)


def _names_from_data(cfg: Any) -> Sequence[str]:
    for name in (*evaluated_sets(cfg), *cfg.DATASETS.TRAIN):
        try:
            return load_dataset(name).class_names
        except DatasetError:
            continue  # the data set need not be on this machine
    return ()


def find_files(patterns: list[str]) -> list[str]:
    """Return the images and videos that the patterns match.

    Args:
        patterns: files of any suffix, folders, and globs. The files of a folder or glob are
            sorted.

    Raises:
        DatasetError: a pattern matches nothing.
    """
    found: list[str] = []
    for pattern in map(os.path.expanduser, patterns):
        if os.path.isfile(pattern):
            files = [pattern]
        else:
            inside = os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern
            files = [
                p
                for p in sorted(glob.glob(inside, recursive=True))
                if p.lower().endswith(IMAGES + VIDEOS)
            ]
        if not files and not os.path.exists(pattern) and not glob.has_magic(pattern):
            raise DatasetError(f"--input {pattern}: there is no such file or folder")
        if not files:
            raise DatasetError(
                f"--input {pattern}: no image or video there (looked for "
                f"{', '.join(IMAGES + VIDEOS)})"
            )
        found += files
    return found


def detect(model: RetinaNet, threshold: float, image: np.ndarray) -> Detections:
    """Detect objects in a (H, W, 3) RGB array; the results are on the CPU.

    Detections with a lower score than ``threshold`` are left out.
    """
    found = model.predict([torch.tensor(image).permute(2, 0, 1)])[0]
    kept = found["scores"] >= threshold
    return {name: value[kept].cpu() for name, value in found.items()}


def draw_detections(image: np.ndarray, found: Detections, names: list[str]) -> np.ndarray:
    """Draw detections on an image; small images are enlarged."""
    scaled, boxes = resize_for_display(image, found["boxes"].numpy(), min_side=300)
    return draw_boxes(
        scaled, boxes, found["labels"].tolist(), class_names=names, scores=found["scores"].tolist()
    )


def json_entry(found: Detections, names: list[str], **source: Any) -> dict[str, Any]:
    """Return the entry of an image or frame for ``detections.json``. Boxes are XYXY in pixels,
    rounded to 0.01."""
    rows = zip(
        found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
    )
    detections = [
        {
            "box": [round(v, 2) for v in box],
            "score": round(score, 4),
            "label": label,
            "class": names[label],
        }
        for box, score, label in rows
    ]
    return {**source, "detections": detections}


def detect_in_source(
    find: Detect,
    names: list[str],
    source: Source,
    target: str,
    limit: int,
    options: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Detect objects in an image, a video or the frames of a webcam. Write ``target``.jpg or
    ``target``.mp4, and yield the entry of the image or of each frame."""
    if isinstance(source, int) or source.lower().endswith(VIDEOS):
        yield from detect_in_video(find, names, source, target, limit)
    else:
        image = read_image(source, **options)
        found = find(image)
        write_image(f"{target}.jpg", draw_detections(image, found, names))
        yield json_entry(found, names, file=source)


def detect_in_video(
    find: Detect, names: list[str], source: Source, target: str, limit: int
) -> Iterator[dict[str, Any]]:
    """Detect objects in each frame, write the frames to ``target``.mp4, and yield their entries.
    The video can be played even if the tool is stopped early."""
    cv2 = import_opencv("a video")
    capture = open_video(source)
    rate, count = capture.get(cv2.CAP_PROP_FPS) or 25.0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    # a webcam has no number of frames
    total = min(limit or count, count) if count > 0 else limit or None
    writer = None
    try:
        for number, frame in enumerate(
            tqdm(frames(capture, limit), total=total, unit="frame", leave=False)
        ):
            found = find(frame)
            drawn = draw_detections(frame, found, names)
            if writer is None:
                writer = cv2.VideoWriter(
                    f"{target}.part.mp4", cv2.VideoWriter_fourcc(*"mp4v"), rate, drawn.shape[1::-1]
                )
            writer.write(np.ascontiguousarray(drawn[:, :, ::-1]))  # BGR
            yield json_entry(found, names, file=_name(source), frame=number)
    finally:
        capture.release()
        if writer is not None:
            writer.release()
            os.replace(f"{target}.part.mp4", f"{target}.mp4")
    if writer is None:
        raise DatasetError(f"{_name(source)} has no frame that can be read")


def open_video(source: Source) -> Any:
    """Open a video file or a webcam with OpenCV's ``VideoCapture``.

    Raises:
        DatasetError: the source cannot be opened.
    """
    if isinstance(source, str):
        try:
            require_regular_file(source)
        except OSError as error:
            raise DatasetError(f"{source} cannot be opened as a video: {error}") from error
    capture = import_opencv("a video").VideoCapture(source)
    if not capture.isOpened():
        raise DatasetError(f"{_name(source)} cannot be opened as a video")
    return capture


def frames(capture: Any, limit: int) -> Iterator[np.ndarray]:
    """Yield the frames as (H, W, 3) uint8 RGB, at most ``limit`` of them; 0 for all."""
    number = 0
    while not limit or number < limit:
        success, frame = capture.read()
        if not success:
            return
        number += 1
        yield np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV's frames are BGR


def _name(source: Source) -> str:
    return f"webcam {source}" if isinstance(source, int) else source


def detect_in_all(
    find: Detect,
    names: list[str],
    sources: Sequence[Source],
    args: argparse.Namespace,
    options: dict[str, Any],
) -> tuple[list[dict[str, Any]], KeyboardInterrupt | None]:
    """Detect objects in all sources. Files that cannot be read are counted and skipped.

    Returns:
        The entries of all images and frames, and the interrupt if a signal stopped the tool early.

    Raises:
        DatasetError: no file can be read.
    """
    entries: list[dict[str, Any]] = []
    interrupt = None
    skipped = SkippedFiles()
    try:
        for number, source in enumerate(
            tqdm(sources, unit="file", disable=args.webcam is not None)
        ):
            stem = os.path.splitext(os.path.basename(_name(source)))[0]
            target = os.path.join(args.output, f"{number:05d}_{stem}")
            with skipped:
                for found in detect_in_source(
                    find, names, source, target, args.max_frames, options
                ):
                    entries.append(found)  # one by one, to keep those before an error or Ctrl-C
    except KeyboardInterrupt as error:
        interrupt = error
    skipped.report(len(sources))
    return entries, interrupt


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    sources = find_files(args.input) if args.webcam is None else [args.webcam]
    model, names, options = load(args)
    os.makedirs(args.output, exist_ok=True)
    find = partial(detect, model, args.confidence_threshold)
    entries, interrupt = detect_in_all(find, names, sources, args, options)
    lines = ",\n".join(json.dumps(entry) for entry in entries)  # a line for each image or frame
    write_atomically(os.path.join(args.output, "detections.json"), f"[\n{lines}\n]\n")
    total = sum(len(e["detections"]) for e in entries)
    summary = (
        f"{total} detections in {len(entries)} images; images and detections.json are in "
        f"{args.output}"
    )
    if interrupt is not None:
        raise Interrupted(getattr(interrupt, "number", signal.SIGINT), f"stopped after {summary}")
    print(summary)


if __name__ == "__main__":
    run(main)
