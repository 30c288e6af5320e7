"""Which backbone and neck for what? Train each pair for the same time, and put accuracy beside cost.

    python tools/compare_models.py --minutes 4 --output-dir output/models
    DETECTRON2_DATASETS=folder/of/bccd python tools/compare_models.py --data bccd --minutes 8 --output-dir output/models_bccd

A few steps tell how long a step takes; the schedule then has as many as fit into ``--minutes``. Start and evaluation are not counted.
Runs go one after another, so that none slows another down, and those that are finished are not repeated. Nothing else should run
meanwhile. At the end the folder has ``table.md`` and ``results.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from analyze_model import analyze, config_of
from tqdm import tqdm

from retina_plugin import build_model
from retina_plugin.outputs import write_atomically
from retina_plugin.report.cli import run

TOOL = Path(__file__).with_name("train_net.py")
DATA = {"digits": "configs/digits/retinanet_compact.yaml", "bccd": "configs/bccd/retinanet_compact.yaml"}
SIZES = {"digits": (160, 160), "bccd": (360, 480)}  # of an image at test time
BACKBONES = {
    "compact ResNet-18": ("resnet", {}),
    "MobileNetV3-small": (
        "timm",
        {
            "MODEL.RETINA_PLUGIN.TIMM.NAME": "mobilenetv3_small_100",
            "MODEL.PIXEL_STD": "[1.0, 1.0, 1.0]",  # Detectron2's default, in whose place comes the model's own
        },
    ),
}
NECKS = ("fpn", "pafpn", "bifpn")
PROBE_STEPS = 40


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), default="digits")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each model")
    parser.add_argument("--output-dir", default="output/models", metavar="FOLDER")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides for every run")
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error(f"argument --minutes: expected more than 0, found {args.minutes:g}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    models = [(backbone, neck) for backbone in BACKBONES for neck in NECKS]
    results = []
    for backbone, neck in tqdm(models, unit="model"):
        folder = Path(args.output_dir) / f"{backbone.replace(' ', '_')}-{neck}"
        results.append({"backbone": backbone, "neck": neck} | compare_one(folder, backbone, neck, args))
    report(Path(args.output_dir), results)


def compare_one(folder: Path, backbone: str, neck: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one model, or read what was found earlier."""
    done = folder / "run.json"
    if not done.is_file():
        options = [*options_of(backbone, neck), *args.opts]
        probe = ["SOLVER.MAX_ITER", str(PROBE_STEPS), "SOLVER.CHECKPOINT_PERIOD", str(10**6), "DATASETS.TEST", "()"]
        seconds = train(folder / "probe", DATA[args.data], [*options, *probe])["time"]
        steps = steps_in(args.minutes, seconds)
        budget = ["SOLVER.MAX_ITER", str(steps), "SOLVER.WARMUP_ITERS", str(min(100, steps // 10))]
        metrics = train(folder, DATA[args.data], [*options, *budget])
        found = {key.removeprefix("bbox/"): value for key, value in metrics.items() if key.startswith("bbox/")}
        cost = cost_of(str(folder / "config.yaml"), SIZES[args.data])
        write_atomically(str(done), json.dumps({"steps": steps, "seconds_a_step": seconds, "metrics": found, **cost}))
    return json.loads(done.read_text(encoding="utf-8"))


def options_of(backbone: str, neck: str) -> list[str]:
    """Overrides that make one of the models out of a compact config."""
    kind, overrides = BACKBONES[backbone]
    overrides = overrides | {"MODEL.BACKBONE.NAME": f"build_retina_{kind}_{neck}_backbone"}
    return [word for pair in overrides.items() for word in pair]


def steps_in(minutes: float, seconds: float) -> int:
    """Steps of so many seconds that fit into so many minutes, at least 1."""
    return max(int(60 * minutes / seconds), 1)


def train(folder: Path, config: str, options: Sequence[str]) -> dict[str, float]:
    """One run of ``tools/train_net.py``; the last value of everything that it logged.

    Raises:
        ChildProcessError: it failed; the message names its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metrics = folder / "metrics.json"
    metrics.unlink(missing_ok=True)  # of a run that was interrupted
    command = [sys.executable, str(TOOL), "--config-file", config, *options, "OUTPUT_DIR", str(folder)]
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        if subprocess.run(command, stdout=log, stderr=log, env=os.environ).returncode:
            raise ChildProcessError(f"{' '.join(command)} failed, see {folder / 'log.txt'}")
    lines = metrics.read_text(encoding="utf-8").splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def cost_of(config: str, size: tuple[int, int]) -> dict[str, float]:
    """Parameters in millions, GFLOPs and milliseconds of detecting in one image, and images of a training step."""
    cfg = config_of(config, [])
    total = analyze(build_model(cfg), *size, repeats=15)[-1]
    cost = {"parameters": total.parameters / 1e6, "gflops": total.flops / 1e9, "ms": total.ms}
    return cost | {"images_a_step": cfg.SOLVER.IMS_PER_BATCH}


def report(folder: Path, results: list[dict[str, Any]]) -> None:
    """Print and write the table and the numbers."""
    text = table(results)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n{text}")
    write_atomically(str(folder / "table.md"), text)
    write_atomically(str(folder / "results.json"), json.dumps(results, indent=1))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each model; a run without any detection, which has no metrics, has AP 0."""
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
        ap = [f"{r['metrics'][key] if r['metrics'].get(key, -1) >= 0 else 0:.1f}" for key in ("AP", "AP50")]
        cost = [f"{r['parameters']:.2f}", f"{r['gflops']:.2f}", f"{r['ms']:.1f}"]
        rate = f"{r['images_a_step'] / r['seconds_a_step']:.1f}"
        rows.append([r["backbone"], r["neck"].upper().replace("BIFPN", "BiFPN"), *ap, *cost, rate, str(r["steps"])])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    run(main)
