"""Convert a data set to COCO, YOLO or Pascal VOC."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

FORMATS = ("coco", "yolo", "voc")

EXAMPLES = """Write a data set with all its splits in another format, with its images. DATA is a
folder, an annotation file, PATH:SPLIT, annotations.json@image_folder or a registered name.

    retina data convert my --format yolo --output my_yolo
    retina data convert my/data.yaml:val --format coco --output my_coco
    retina data convert voc --format coco --output my_coco \\
        MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET none

DIR must be new or empty. It is written whole or not at all. Anything that the format cannot
hold is printed."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", help="data set to read")
    parser.add_argument("--format", required=True, choices=FORMATS, help="format to write")
    parser.add_argument("--output", required=True, metavar="DIR", help="new folder")
    parser.add_argument(
        "--link",
        action="store_true",
        help="make hard links to the images instead of copies; a program that writes into one "
        "changes the original too",
    )
    parser.add_overrides(help="config keys for reading, such as VOC_OFFSET and BOX_COORDINATES")


def run(args: argparse.Namespace) -> None:
    from retina_plugin.cli.output import write
    from retina_plugin.config import check_rules, get_cfg
    from retina_plugin.data.exporters import convert
    from retina_plugin.engine.checks import prepare_data
    from retina_plugin.engine.read_config import merge

    cfg = merge(get_cfg(), None, args.opts)
    check_rules(cfg)
    prepare_data(cfg)
    lines = convert(args.data, args.format, args.output, link=args.link)
    write("".join(f"{line}\n" for line in lines))
