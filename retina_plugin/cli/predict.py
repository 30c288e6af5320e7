"""Detect objects in images, videos or from a webcam."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from retina_plugin.cli.label_flag import add_labels
from retina_plugin.cli.parser import COUNT, file_name, fraction_below_1, integer_between

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser
    from retina_plugin.inference.detector import Detector

EXAMPLES = """Detect objects with a checkpoint or an exported file, and write images and videos with
boxes, and tables.

    retina predict --weights out --input my/images
    retina predict --weights model.onnx --input photo.jpg 'more/**/*.png' film.mp4
    retina predict --weights out --input my/images --save yolo coco crops
    retina predict --weights out --input 0 --show
    retina predict --weights out --input map.tif --opts MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE 640

For the folder of a run, its checkpoint is the one that retina eval uses. A detection is kept if its
score reaches the threshold of its class, which the training has stored, or --threshold. An input
that cannot be read is reported in one line, the others are done, and the exit code is 1."""

SAVE = ("pictures", "json", "csv", "coco", "yolo", "crops")


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="folder of a run, checkpoint, or exported file",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="config of a checkpoint from elsewhere (default: that of the checkpoint)",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="images, videos, folders, globs with * and **; a number is a webcam",
    )
    add_result_flags(parser)
    parser.add_argument(
        "--threshold",
        type=fraction_below_1,
        metavar="SCORE",
        help="least score (default: the thresholds of the classes in FILE, or 0.5)",
    )
    parser.add_argument(
        "--save",
        nargs="+",
        choices=SAVE,
        default=["pictures", "json"],
        metavar="KIND",
        help=f"what is written: {', '.join(SAVE)} (default: pictures json)",
    )
    parser.add_argument(
        "--batch",
        type=integer_between(1, 1024),
        default=1,
        metavar="N",
        help="images of one size that are processed together; faster on a GPU (1)",
    )
    parser.add_argument("--show", action="store_true", help="show each image in a window")
    add_opts(parser)


def add_result_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ``tools/demo.py`` has too."""
    parser.add_argument(
        "--output",
        type=file_name,
        default="detections",
        metavar="DIR",
        help="folder of the results (detections)",
    )
    add_labels(parser)
    parser.add_argument(
        "--max-frames",
        type=COUNT,
        default=0,
        metavar="N",
        help="frames of each video or webcam; 0: all",
    )


def add_opts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--opts",
        nargs="...",
        default=[],
        metavar="KEY VALUE",
        help="overrides of config keys, last",
    )


def check(parser: Parser, args: argparse.Namespace) -> None:
    """Check that no flag of the command follows ``--opts``, which takes all words after it."""
    late = next((word for word in args.opts if parser.has_flag(word)), None)
    if late is not None:
        parser.error(f"expected pairs KEY VALUE after --opts, found {late}: put it before --opts")


def run(args: argparse.Namespace) -> None:
    """Detect and write.

    Raises:
        DatasetError: an input does not exist.
        ConfigError, WeightsError, ExportError: the model cannot be loaded.
        DiskError: a file cannot be written.
        SystemExit: with code 1, some inputs could not be used.
    """
    from retina_plugin.inference.load import load
    from retina_plugin.inference.predict import predict
    from retina_plugin.inference.source_files import find_sources

    sources = find_sources(args.input, leave_out=args.output)
    detector = load(
        args.weights,
        config_file=args.config_file,
        overrides=args.opts,
        batch_size=args.batch,
    )
    print(describe_thresholds(detector, args.threshold), flush=True)
    summary = predict(
        detector,
        sources,
        args.output,
        save=args.save,
        labels=args.labels,
        threshold=args.threshold,
        max_frames=args.max_frames,
        shows_window=args.show,
    )
    finish(len(summary.failures), len(sources))


def describe_thresholds(
    detector: Detector, threshold: float | None = None, *, most: int = 8
) -> str:
    """Return a line with the threshold of each class, or the ``threshold`` of all, and one if some
    have no effect."""
    thresholds, stored = detector.thresholds, detector.predictor.score_thresholds
    shown = [f"{name} {score:.2f}" for name, score in list(thresholds.items())[:most]]
    rest = f", ... ({len(thresholds)} classes)" if len(thresholds) > most else ""
    lines = [f"score thresholds: {', '.join(shown)}{rest}"]
    missing = [name for name in thresholds if name not in stored]
    if threshold is not None:
        lines, thresholds = [f"score threshold: {threshold:g} for all classes"], {"": threshold}
    elif missing:
        lines.append(
            f"no threshold is stored for {len(missing)} of {len(thresholds)} classes (first: "
            f"{missing[0]}), for which it is {thresholds[missing[0]]}"
        )
    least = detector.predictor.least_score
    if min(thresholds.values()) < least:
        lines.append(
            f"a threshold below {least:.3g} has no effect, because the model drops scores below it "
            "first: lower MODEL.RETINANET.SCORE_THRESH_TEST"
        )
    return "\n".join(lines)


def finish(failed: int, total: int) -> None:
    """End with exit code 1 if inputs have failed."""
    if failed:
        print(f"{failed} of {total} inputs failed; see the lines above", file=sys.stderr)
        sys.exit(1)
