"""Flags for training and evaluation: those of Detectron2, and ``--host``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from retina_plugin.engine.host import DIST_URL
from retina_plugin.engine.hosts import HOSTS

if TYPE_CHECKING:
    from retina_plugin.engine.host import Request


def add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        choices=HOSTS,
        default="auto",
        help="what to run on; auto is Detectron2 if it is installed, else Lightning",
    )


def add_distributed_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for several GPUs and machines, and the time at which the command started."""
    parser.set_defaults(started=time.monotonic())
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of each machine (1); without a GPU, 1 is the CPU",
    )
    parser.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines (1)")
    parser.add_argument(
        "--machine-rank", type=int, default=0, metavar="N", help="0 .. num-machines - 1"
    )
    parser.add_argument(
        "--dist-url", default=DIST_URL, metavar="URL", help=f"where the processes meet ({DIST_URL})"
    )


def request_of(args: argparse.Namespace, **flags: Any) -> Request:
    """Return the request that the flags describe.

    Args:
        args: the namespace of a parser with the flags above.
        flags: more arguments of :class:`retina_plugin.engine.host.Request`, such as ``resume``.
    """
    from retina_plugin.engine.host import Request

    names = ("num_gpus", "num_machines", "machine_rank", "dist_url", "started")
    return Request(**{name: getattr(args, name) for name in names}, **flags)


def launch(config_file: str, overrides: list[str], args: argparse.Namespace, **flags: Any) -> None:
    """Start the run that the flags describe.

    Args:
        config_file, overrides: see :func:`retina_plugin.engine.launch.launch`.
        args, flags: see :func:`request_of`.
    """
    from retina_plugin.engine.launch import launch as start

    start(config_file, overrides, request_of(args, **flags), host=args.host)
