"""Evaluate a checkpoint or an exported file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from retina_plugin.cli.run_flags import add_distributed_flags, add_host, launch
from retina_plugin.export.file_kind import is_exported

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Evaluate a checkpoint on DATASETS.TEST, or an exported file on --data, as COCO does.

    retina eval output
    retina eval output --weights output/model_best.pth
    retina eval --config-file coco/retinanet_R_50_FPN_1x.yaml --weights model.pth
    retina eval --weights model.onnx --data annotations.json@images --output evaluation

For a run folder, its config.yaml and its last checkpoint are used, or model_best.pth if the run
chose it on MODEL.RETINA_PLUGIN.DATASETS.VALIDATION. The results are written into the folder."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--config-file", metavar="FILE", help="YAML file or packaged config, if no FOLDER is given"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="checkpoint (default: last of FOLDER, or MODEL.WEIGHTS), or file of retina export",
    )
    parser.add_argument(
        "--data", metavar="DATA", help="data set, instead of DATASETS.TEST of the config"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder for the results of an exported file (default: its name and _evaluation)",
    )
    add_host(parser)
    add_distributed_flags(parser)
    parser.add_overrides(
        "words", metavar="[FOLDER] KEY VALUE", help="folder of a run; overrides of config keys"
    )


def check(parser: Parser, args: argparse.Namespace) -> None:
    """Split the words into FOLDER and KEY VALUE pairs.

    The first word is FOLDER if the number of words is odd.
    """
    args.folder = args.words[0] if len(args.words) % 2 else None
    args.opts = args.words[len(args.words) % 2 :]
    if args.folder and args.config_file:
        parser.error(
            f"expected one of FOLDER and --config-file, or pairs KEY VALUE, found {args.folder} and"
            f" --config-file {args.config_file}"
        )
    if args.weights and is_exported(args.weights):
        _check_exported(parser, args)
        return
    if args.output:
        parser.error("argument --output: only for exported files; set OUTPUT_DIR instead")
    if args.data:
        args.opts = ["DATASETS.TEST", repr((args.data,)), *args.opts]
    if not args.folder and not args.config_file:
        found = f"; found only pairs KEY VALUE: {' '.join(args.words)}" if args.words else ""
        parser.error(f"expected the folder of a run, or --config-file FILE{found}")


def _check_exported(parser: Parser, args: argparse.Namespace) -> None:
    if args.folder or args.config_file:
        parser.error(
            f"{args.weights} contains its config: expected --data DATA and no folder of a run and "
            "no --config-file"
        )
    if not args.data:
        parser.error(f"{args.weights} names no data set: add --data DATA")


def run(args: argparse.Namespace) -> None:
    """Run the evaluation.

    Raises:
        ExportError: the exported file cannot be used.
        DatasetError: the data set cannot be used.
        ConfigError: the folder has no config.
        WeightsError: the folder has no checkpoint, and ``--weights`` is not given.
    """
    if args.weights and is_exported(args.weights):
        _evaluate_exported(args)
        return
    config_file: str = args.config_file
    overrides: list[str] = []
    if args.folder:
        config_file, overrides = from_run_folder(args.folder, args.weights)
    elif args.weights:
        overrides = ["MODEL.WEIGHTS", args.weights]
    launch(config_file, [*overrides, *args.opts], args, eval_only=True)


def _evaluate_exported(args: argparse.Namespace) -> None:
    from retina_plugin.export.evaluate import evaluate_exported
    from retina_plugin.report import report_results

    output = args.output or f"{os.path.splitext(args.weights)[0]}_evaluation"
    cfg, results = evaluate_exported(args.weights, args.data, output, args.opts)
    report_results(cfg, results)


def from_run_folder(folder: str, weights: str | None) -> tuple[str, list[str]]:
    """Return the config file of a run folder, and the overrides for an evaluation in that folder.

    The checkpoint is ``weights`` if this is given, else ``model_best.pth`` if the run chose it on
    ``DATASETS.VALIDATION``, else the last checkpoint of the folder.
    """
    from retina_plugin.engine.run_weights import config_of_run, weights_of_run

    other = "--config-file FILE and pairs KEY VALUE"
    if weights:
        config_file, reason = config_of_run(folder, other=other), ""
    else:
        weights, config_file, reason = weights_of_run(folder, other=other)
    print(f"weights: {weights}{reason}", flush=True)
    return config_file, ["OUTPUT_DIR", folder, "MODEL.WEIGHTS", weights]
