"""Detect objects in images, videos or from a webcam. Write the images and videos with boxes, and
all detections as JSON.

    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth \\
        --input photo.jpg folder 'more/*.png'
    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth \\
        --input film.mp4
    python tools/demo.py --config-file output/config.yaml --weights output/model_final.pth --webcam

The flags are those of Detectron2's demo. `retina predict` does the same with fewer words, uses the
thresholds of the classes in the checkpoint, and writes more formats.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
# first, to handle Ctrl-C during imports
from command_line import Parser, fraction_below_1, integer_between

# isort: split
import argparse

from retina_plugin import get_cfg
from retina_plugin.cli.predict import add_opts, add_result_flags, finish
from retina_plugin.engine.process import run
from retina_plugin.engine.read_config import merge
from retina_plugin.inference.detector import Detector
from retina_plugin.inference.load import load as load_detector
from retina_plugin.inference.predict import predict
from retina_plugin.inference.source_files import Source, find_sources
from retina_plugin.modeling.build_views import averages_scores

THRESHOLD = "MODEL.RETINANET.SCORE_THRESH_TEST"


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
    add_result_flags(parser)
    parser.add_argument(
        "--confidence-threshold",
        type=fraction_below_1,
        default=0.5,
        help="detections with lower scores are not shown or written (0.5)",
    )
    add_opts(parser)
    return parser.parse_args(argv)


def load(args: argparse.Namespace) -> Detector:
    """Load the detector; see :func:`retina_plugin.load`."""
    cfg = merge(get_cfg(), args.config_file, args.opts)
    # the same detections from fewer candidates, and slices are merged for this threshold
    least = [] if averages_scores(cfg) else [THRESHOLD, args.confidence_threshold]
    return load_detector(args.weights, config_file=args.config_file, overrides=[*args.opts, *least])


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    sources: list[Source] = (
        find_sources(args.input, leave_out=args.output) if args.webcam is None else [args.webcam]
    )
    summary = predict(
        load(args),
        sources,
        args.output,
        save=["pictures", "json"],
        labels=args.labels,
        threshold=args.confidence_threshold,
        max_frames=args.max_frames,
    )
    finish(len(summary.failures), len(sources))


if __name__ == "__main__":
    run(main)
