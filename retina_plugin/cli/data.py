"""Work with data sets: check them, convert them, and plan a run for them."""

from __future__ import annotations

import argparse
from typing import Any

from retina_plugin.cli import data_check, data_convert, data_plan
from retina_plugin.cli.parser import Parser, add_verbs

# each module is a verb below "data", with the same functions as a verb
VERBS: dict[str, Any] = {"check": data_check, "convert": data_convert, "plan": data_plan}

EXAMPLES = """Work with data sets.

    retina data check my
    retina data convert my --format yolo --output my_yolo
    retina data plan my --minutes 20 --output plan.yaml
    retina data VERB --help"""


def add_arguments(parser: Parser) -> None:
    add_verbs(parser, VERBS, dest="data_verb")


def run(args: argparse.Namespace) -> None:
    VERBS[args.data_verb].run(args)
