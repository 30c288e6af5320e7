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
    retina data plan DATA --minutes 20 SOLVER.IMS_PER_BATCH 4
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
        "--overwrite", action="store_true", help="replace existing files of the plan"
    )
    add_host(parser)
    parser.add_overrides()


def run(args: argparse.Namespace) -> None:
    from retina_plugin.engine.launch import host_of
    from retina_plugin.engine.plan_run import plan_run

    own, host = own_data_of(args), host_of(args.host)
    plan_run(own, args.output, args.opts, host, overwrite=args.overwrite).write()
