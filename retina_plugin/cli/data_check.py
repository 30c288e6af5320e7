"""Find what breaks or harms training in your data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser
    from retina_plugin.data.checks import CheckResult

EXAMPLES = """Find what breaks or harms training: files that cannot be read, wrong sizes and
coordinates, repeated boxes, images that are in training and validation set, objects that are too
small to be seen, and more. DATA is a folder, an annotation file, PATH:SPLIT,
annotations.json@image_folder or a registered name; without a split, all splits are checked.

    retina data check my
    retina data check train.json@images val.json@images --json findings.json
    retina data check my --fix my_repaired
    retina data check my INPUT.MIN_SIZE_TEST 512 INPUT.MAX_SIZE_TEST 768

The exit code is 1 if something breaks or harms training. docs/data_checks.md explains the rules."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", help="data set to check; training images first")
    parser.add_argument("--json", metavar="FILE", help="write all findings")
    parser.add_argument(
        "--fix", metavar="DIR", help="write a repaired copy to a new folder; DATA is not changed"
    )
    parser.add_overrides(
        metavar="DATA | KEY VALUE", help="more data sets; then config keys, such as BOX_COORDINATES"
    )


def run(args: argparse.Namespace) -> None:
    import sys

    from retina_plugin.cli.output import write
    from retina_plugin.config import get_cfg
    from retina_plugin.data.checks import check_datasets
    from retina_plugin.data.checks.report import report_lines
    from retina_plugin.data.exporters.convert import require_new_folder
    from retina_plugin.engine.data_checks import planned_view
    from retina_plugin.engine.read_config import read_config

    names, overrides = _names_and_overrides([args.data, *args.opts])
    # the device cpu avoids a warning about a missing GPU
    cfg = read_config(get_cfg(), None, ["MODEL.DEVICE", "cpu", *overrides])
    if args.fix:
        require_new_folder(args.fix)
    result = check_datasets(names, planned_view(cfg, overrides))
    if args.json:
        _write_json(result, args.json)
    write("\n".join([*report_lines(result), ""]))
    if args.fix:
        _write_repaired(result, args.fix)
    if not result.is_clean:
        sys.exit(1)


def _names_and_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Split the words at the first one that is a config key. A path, such as that of a folder TEST,
    is none."""
    from retina_plugin.config import get_cfg, leaves
    from retina_plugin.data.data_path import parse_data_path

    keys = {key for key, _ in leaves(get_cfg())}
    groups = {f"{key.partition('.')[0]}." for key in keys if "." in key}

    def is_key(word: str) -> bool:
        known = word in keys or word.startswith(tuple(groups))
        return known and parse_data_path(word) is None

    first = next((i for i, word in enumerate(words) if is_key(word)), len(words))
    return words[:first], words[first:]


def _write_json(result: CheckResult, path: str) -> None:
    import json

    from retina_plugin.config.files import write_atomically

    entries = [finding.as_dict() for finding in result.findings]
    write_atomically(path, json.dumps(entries, indent=1) + "\n")


def _write_repaired(result: CheckResult, folder: str) -> None:
    from retina_plugin.cli.output import write
    from retina_plugin.data.checks.repair import repair_set
    from retina_plugin.data.checks.report import repair_lines
    from retina_plugin.data.checks.write_repaired import write_repaired

    sets = [repair_set(checked) for checked in result.sets]
    names, images = write_repaired(sets, folder)
    write("\n".join([*repair_lines(sets, names, images), ""]))
