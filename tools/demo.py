"""Detect in images, a video or a webcam: pictures (or a video) with boxes, and a JSON of all detections.

python tools/demo.py --config-file output/digits/config.yaml --weights output/digits/model_final.pth --input photo.jpg folder 'more/*.png'
python tools/demo.py --config-file output/digits/config.yaml --weights output/digits/model_final.pth --input film.mp4
python tools/demo.py --config-file output/digits/config.yaml --weights output/digits/model_final.pth --webcam
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from retina_plugin import build_model, load_weights
from retina_plugin.checks import resolve_device
from retina_plugin.config import get_cfg
from retina_plugin.data import DatasetError, load_dataset, read_image
from retina_plugin.model import Detections, RetinaNet
from retina_plugin.outputs import write_atomically
from retina_plugin.report import draw_boxes, enlarge, write_picture
from retina_plugin.report.cli import run
from retina_plugin.weights import WeightsError, read_checkpoint

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config.yaml of the training")
    parser.add_argument("--weights", metavar="FILE", help="checkpoint; else MODEL.WEIGHTS of the config")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="PATH", help="images, folders and globs, or one video")
    source.add_argument("--webcam", nargs="?", type=int, const=0, metavar="INDEX", help="until Ctrl-C or --max-frames")
    parser.add_argument("--output", default="detections", metavar="FOLDER")
    parser.add_argument(
        "--confidence-threshold", type=float, default=0.5, help="detections below are not shown or written"
    )
    parser.add_argument("--max-frames", type=int, default=0, help="of a video or webcam; 0: all")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="overrides of config keys, last"
    )
    return parser.parse_args(argv)


def load(args: argparse.Namespace) -> tuple[RetinaNet, list[str]]:
    """The model in evaluation mode and the names of its classes: from the checkpoint, else from the config's data sets, else numbers.

    Raises:
        WeightsError: no checkpoint is named, or it does not fit.
    """
    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    resolve_device(cfg)
    path = args.weights or cfg.MODEL.WEIGHTS
    if not path:
        raise WeightsError("no checkpoint: add --weights path/to/model_final.pth")
    names = read_checkpoint(path).get("metadata", {}).get("class_names") or _names_from_data(cfg)
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        cfg.MODEL.RETINANET.NUM_CLASSES = len(names)
    model = build_model(cfg)
    load_weights(model, path)
    return model.eval(), list(names) or [f"class {i}" for i in range(model.num_classes)]


def _names_from_data(cfg: Any) -> Sequence[str]:
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        try:
            return load_dataset(name).class_names
        except DatasetError:
            continue  # a model is often used where its training data is not
    return ()


def find_images(patterns: list[str]) -> list[str]:
    """Files, folders and globs -> image files, sorted within each.

    Raises:
        DatasetError: a pattern that finds nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        matches = sorted(glob.glob(os.path.join(glob.escape(pattern), "*"))) if os.path.isdir(pattern) else [pattern]
        if not os.path.exists(pattern):
            matches = sorted(glob.glob(pattern, recursive=True))
        files = [path for path in matches if path.lower().endswith(IMAGES)] if len(matches) != 1 else matches
        if not files:
            raise DatasetError(f"--input {pattern}: no image there (looked for {', '.join(IMAGES)})")
        found += files
    return found


def frames(source: str | int, limit: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB of a video file or a webcam; Ctrl-C ends a webcam.

    Raises:
        DatasetError: it cannot be opened, or has no frame.
    """
    capture = cv2.VideoCapture(source)
    number = 0
    try:
        while not limit or number < limit:
            good, frame = capture.read()
            if not good:
                break
            number += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    except KeyboardInterrupt:
        pass
    finally:
        capture.release()
    if number == 0:
        raise DatasetError(f"{f'webcam {source}' if isinstance(source, int) else source} cannot be opened as a video")


def detect(model: RetinaNet, image: np.ndarray, threshold: float) -> Detections:
    """Detections of one (H, W, 3) RGB array with scores of at least ``threshold``, on the CPU."""
    found = model.predict([torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)])[0]
    sure = found["scores"] >= threshold
    return {name: value[sure].cpu() for name, value in found.items()}


def picture(image: np.ndarray, found: Detections, names: list[str], *, least: int = 300) -> np.ndarray:
    """The image with its detections; small ones enlarged."""
    large, boxes = enlarge(image, found["boxes"].numpy(), least=least)
    return draw_boxes(large, boxes, found["labels"].tolist(), class_names=names, scores=found["scores"].tolist())


def entry(source: dict[str, Any], found: Detections, names: list[str]) -> dict[str, Any]:
    """One image or frame of ``detections.json``."""
    detections = [
        {"box": box, "score": score, "label": label, "class": names[label]}
        for box, score, label in zip(
            found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
        )
    ]
    return {**source, "detections": detections}


def run_images(model: RetinaNet, names: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Detect in every image; one that cannot be read is counted and left out, unless it is the only one."""
    entries, unreadable = [], []
    files = find_images(args.input)
    for number, path in enumerate(tqdm(files, unit="image")):
        try:
            image = read_image(path)
        except DatasetError as error:
            unreadable.append(str(error))
            continue
        found = detect(model, image, args.confidence_threshold)
        stem = os.path.splitext(os.path.basename(path))[0]
        write_picture(os.path.join(args.output, f"{number:05d}_{stem}.jpg"), picture(image, found, names))
        entries.append(entry({"file": path}, found, names))
    if len(unreadable) == len(files):
        raise DatasetError(unreadable[0])
    if unreadable:
        print(f"warning: {len(unreadable)} of {len(files)} images were left out (first: {unreadable[0]})")
    return entries


def run_video(model: RetinaNet, names: list[str], args: argparse.Namespace, source: str | int) -> list[dict[str, Any]]:
    """Detect in every frame and write ``detections.mp4``; what was written stays whole when it is interrupted."""
    capture = cv2.VideoCapture(source)
    rate, count = capture.get(cv2.CAP_PROP_FPS) or 25.0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    path, draft, writer, entries = (
        os.path.join(args.output, "detections.mp4"),
        os.path.join(args.output, ".part.mp4"),
        None,
        [],
    )
    try:
        for number, frame in enumerate(
            tqdm(frames(source, args.max_frames), total=args.max_frames or max(count, 0) or None, unit="frame")
        ):
            found = detect(model, frame, args.confidence_threshold)
            drawn = picture(frame, found, names)
            if writer is None:
                writer = cv2.VideoWriter(draft, cv2.VideoWriter_fourcc(*"mp4v"), rate, drawn.shape[1::-1])
            writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
            entries.append(entry({"frame": number}, found, names))
    finally:
        if writer is not None:
            writer.release()
            os.replace(draft, path)
    return entries


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    model, names = load(args)
    os.makedirs(args.output, exist_ok=True)
    if args.webcam is not None:
        entries = run_video(model, names, args, args.webcam)
    elif len(args.input) == 1 and args.input[0].lower().endswith(VIDEOS):
        entries = run_video(model, names, args, args.input[0])
    else:
        entries = run_images(model, names, args)
    write_atomically(os.path.join(args.output, "detections.json"), json.dumps(entries, indent=1))
    total = sum(len(e["detections"]) for e in entries)
    print(f"{total} detections in {len(entries)} images; pictures and detections.json in {args.output}")


if __name__ == "__main__":
    run(main)
