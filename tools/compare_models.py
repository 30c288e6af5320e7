"""Train each pair of backbone and neck for the same time, and compare accuracy and cost.

    python tools/compare_models.py --minutes 4 --output-dir output/models
    DETECTRON2_DATASETS=folder/of/bccd python tools/compare_models.py --data bccd \\
        --minutes 6 --output-dir output/models_bccd

First the tool measures each model: the cost of an image, and the time of a step, which gives the
number of steps that fit into ``--minutes``. Then it trains each model for its number of steps; the
time of start and evaluation does not count. Run nothing else on the machine at the same time.
Finished measurements and runs are not repeated. At the end the folder contains ``table.md`` and
``results.json``.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from analyze_model import analyze, config_of
from one_run import box_metrics, one_run
from tqdm import tqdm

from retina_plugin import build_model
from retina_plugin.config.files import write_atomically
from retina_plugin.engine.process import run

DATA = {
    "digits": "configs/digits/retinanet_paper.yaml",
    "bccd": "configs/bccd/retinanet_paper.yaml",
}
SIZES = {"digits": (160, 160), "bccd": (360, 480)}  # height and width of an image at test time
BACKBONES: dict[str, tuple[str, dict[str, str]]] = {
    "compact ResNet-18": ("resnet", {}),
    "MobileNetV3-small": (
        "timm",
        {
            "MODEL.RETINA_PLUGIN.TIMM.NAME": "mobilenetv3_small_100",
            # with Detectron2's default, the constants of the timm model are used
            "MODEL.PIXEL_STD": "[1.0, 1.0, 1.0]",
        },
    ),
}
NECKS = ("fpn", "pafpn", "bifpn")
PROBE_STEPS = 40


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--data", choices=sorted(DATA), default="digits")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each model")
    parser.add_argument("--output-dir", default="output/models", metavar="FOLDER")
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="config keys for every run",
    )
    args = parser.parse_args(argv)
    if not 0 < args.minutes <= 10**5:
        bound = "at most 100000" if args.minutes > 10**5 else "more than 0"
        parser.error(f"argument --minutes: expected {bound}, found {args.minutes:g}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    models = [(backbone, neck) for backbone in BACKBONES for neck in NECKS]
    costs = [measure(*model, args) for model in tqdm(models, desc="measure", unit="model")]
    results = []
    for (backbone, neck), cost in zip(tqdm(models, desc="train", unit="model"), costs, strict=True):
        steps = steps_in(args.minutes, cost["seconds_a_step"])
        metrics = train_steps(backbone, neck, steps, args)
        results.append(
            {"backbone": backbone, "neck": neck, "steps": steps, "metrics": metrics} | cost
        )
    report(Path(args.output_dir), results)


def measure(backbone: str, neck: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure the cost of a training step and of one image, or read an earlier measurement."""
    probe = [
        "SOLVER.MAX_ITER",
        str(PROBE_STEPS),
        "SOLVER.CHECKPOINT_PERIOD",
        str(10**6),
        "DATASETS.TEST",
        "()",
    ]
    folder, logged = train(backbone, neck, probe, args, "-probe")
    done = folder / "cost.json"
    if not done.is_file():
        cost = cost_of(str(folder / "config.yaml"), SIZES[args.data])
        write_atomically(str(done), json.dumps({"seconds_a_step": logged["time"]} | cost))
    result: dict[str, float] = json.loads(done.read_text(encoding="utf-8"))
    return result


def train_steps(backbone: str, neck: str, steps: int, args: argparse.Namespace) -> dict[str, float]:
    """Train for ``steps`` steps and return AP, AP50 and the other box metrics."""
    budget = ["SOLVER.MAX_ITER", str(steps), "SOLVER.WARMUP_ITERS", str(min(100, steps // 10))]
    _, logged = train(backbone, neck, budget, args)
    return box_metrics(logged)


def train(
    backbone: str, neck: str, options: list[str], args: argparse.Namespace, suffix: str = ""
) -> tuple[Path, dict[str, float]]:
    """Train a model with additional options; return the folder of the run and all logged values."""
    folder = Path(args.output_dir) / f"{backbone.replace(' ', '_')}-{neck}{suffix}"
    options = [*options_of(backbone, neck), *args.opts, *options]
    result = one_run(folder, DATA[args.data], options, threads=torch.get_num_threads())
    return folder, result["metrics"]


def options_of(backbone: str, neck: str) -> list[str]:
    """Return the overrides that select the backbone and the neck in a compact config."""
    kind, overrides = BACKBONES[backbone]
    overrides = overrides | {"MODEL.BACKBONE.NAME": f"build_retina_{kind}_{neck}_backbone"}
    return [item for pair in overrides.items() for item in pair]


def steps_in(minutes: float, seconds: float) -> int:
    """Return how many steps of ``seconds`` seconds fit into ``minutes`` minutes, at least 1."""
    return max(int(60 * minutes / seconds), 1)


def cost_of(config: str, size: tuple[int, int]) -> dict[str, float]:
    """Return the parameters in millions, the GFLOPs and milliseconds of inference on one image, and
    the number of images of a training step."""
    cfg = config_of(config, [])
    total = analyze(build_model(cfg), *size, repeats=100)[-1]
    cost = {"parameters": total.parameters / 1e6, "gflops": total.flops / 1e9, "ms": total.ms}
    return cost | {"images_a_step": cfg.SOLVER.IMS_PER_BATCH}


def report(folder: Path, results: list[dict[str, Any]]) -> None:
    """Print and write the table and the numbers."""
    text = table(results)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n{text}")
    write_atomically(str(folder / "table.md"), text)
    write_atomically(str(folder / "results.json"), json.dumps(results, indent=1))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Format a Markdown table with a row for each model. A run without detections has no metrics
    and counts as AP 0."""
    columns = [
        "backbone",
        "neck",
        "AP",
        "AP50",
        "parameters, M",
        "GFLOPs",
        "ms an image",
        "training images / s",
        "steps",
    ]
    rows = [columns, ["---", "---", *["---:"] * (len(columns) - 2)]]
    for r in results:
        ap = [
            f"{r['metrics'][key] if r['metrics'].get(key, -1) >= 0 else 0:.1f}"
            for key in ("AP", "AP50")
        ]
        cost = [f"{r['parameters']:.2f}", f"{r['gflops']:.2f}", f"{r['ms']:.1f}"]
        rate = f"{r['images_a_step'] / r['seconds_a_step']:.1f}"
        rows.append(
            [
                r["backbone"],
                r["neck"].upper().replace("BIFPN", "BiFPN"),
                *ap,
                *cost,
                rate,
                str(r["steps"]),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    run(main)
