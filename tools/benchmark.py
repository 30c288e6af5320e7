"""Compare the speed of this project with other implementations of the same work. First check that
the results are equal, then time the implementations in turns.

    python tools/benchmark.py loss match                 # class loss; anchors against boxes
    python tools/benchmark.py step infer                 # R-50-FPN: a training step; a detection
    python tools/benchmark.py step infer --device cuda --amp
    python tools/benchmark.py export --threads 1         # files of retina export; needs minutes
    python tools/benchmark.py eval --json eval.json      # COCO metrics
    python tools/benchmark.py input --threads 1          # training samples from JPEG files

Detectron2, fvcore, torchvision and faster-coco-eval are compared if they are installed. If results
differ, the tool ends with an error before it times that comparison. Run nothing else on the machine
at the same time.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import json
import platform
from typing import Any

import torch
from benchmarks import detection, evaluation, exported, loading, losses, matching
from benchmarks.measure import Comparison, measure, peak_memory, table

from retina_plugin.config.files import write_atomically
from retina_plugin.config.keys import DEVICE
from retina_plugin.engine.checks import require_device
from retina_plugin.engine.hosts import detectron2_problem
from retina_plugin.engine.process import run

PARTS = {
    "loss": losses.comparisons,
    "match": matching.comparisons,
    "step": detection.steps,
    "infer": detection.inferences,
    "export": exported.comparisons,
    "eval": evaluation.comparisons,
    "input": loading.comparisons,
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "parts", nargs="+", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=7,
        help="timed runs of each implementation, after a run whose results are checked",
    )
    parser.add_argument("--threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--amp", action="store_true", help="run step and infer under bfloat16 autocast"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one tiny size of each part, to test that it runs; the times mean nothing",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all numbers to this file after every comparison"
    )
    # for the new processes that measure memory
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.repeats < 1 or args.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    if args.repeats > 10**6 or args.threads > 1024:
        parser.error("--repeats must be at most 1000000 and --threads at most 1024")
    if not DEVICE.fullmatch(args.device):
        parser.error(f"--device must be cpu, cuda or cuda:N, found {args.device!r}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: torch finds no GPU")
    require_device(args.device, "--device")
    if args.json and not os.path.isdir(os.path.dirname(args.json) or "."):
        parser.error(f"--json {args.json}: there is no folder {os.path.dirname(args.json)!r}")
    return args


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    return [comparison for part in args.parts for comparison in PARTS[part](args)]


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """Return the properties of the machine and the run on which the numbers depend."""
    return {
        "device": torch.cuda.get_device_name()
        if args.device.startswith("cuda")
        else platform.processor() or "cpu",
        "threads": args.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "amp": args.amp,
        "quick": args.quick,
    }


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    if args.peak_of:
        title, name = args.peak_of
        chosen = next(c for c in comparisons(args) if c.title == title)
        detectron2_problem()  # imports Detectron2 before the memory is measured
        print(peak_memory(chosen.implementations[name], args.device))
        return
    command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)]
    report: dict[str, Any] = {"machine": machine(args), "comparisons": []}
    print("  ".join(f"{key} {value}" for key, value in report["machine"].items()), flush=True)
    for comparison in comparisons(args):
        rows = measure(comparison, repeats=args.repeats, device=args.device, command=command)
        report["comparisons"].append(
            {"title": comparison.title, "absent": comparison.absent, "rows": rows}
        )
        print(f"\n{table(comparison, rows)}", flush=True)
        if args.json:  # before a later comparison can end the run with an error
            write_atomically(args.json, json.dumps(report, indent=1))


if __name__ == "__main__":
    run(main)
