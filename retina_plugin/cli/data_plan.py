"""Plan a run for your data: a YAML file with a reason for each value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retina_plugin.cli.own_data import add_validation, own_data_of
from retina_plugin.cli.run_flags import add_host

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Plan a run for your data and this machine. The plan is a config; each value has a
comment with its reason.

    retina data plan DATA --minutes 20 --output plan.yaml
    retina train --config-file plan.yaml

If validation images are split off, PLAN.train.json and PLAN.val.json are written beside the
plan."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", help="training images: see retina train --help")
    add_validation(parser)
    parser.add_argument(
        "--output", metavar="FILE", default="plan.yaml", help="the plan (plan.yaml)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing file of that name"
    )
    add_host(parser)


def run(args: argparse.Namespace) -> None:
    import os

    from retina_plugin.config.errors import ConfigError
    from retina_plugin.engine.launch import host_of
    from retina_plugin.engine.own_data import plan_run

    if os.path.exists(args.output) and not args.overwrite:
        raise ConfigError(f"--output {args.output} exists: give --overwrite, or another name")
    plan_run(own_data_of(args), args.output, [], host_of(args.host)).write()
