"""Train one model with every class loss on imbalanced data, and compare the AP of each class.

    python tools/compare_losses.py --output-dir output/losses
    DETECTRON2_DATASETS=folder/of/bccd python tools/compare_losses.py --data bccd \\
        --output-dir output/losses_bccd

Each run is a call of ``tools/train_net.py`` on one CPU thread. Finished runs are not repeated. At
the end the folder contains ``table.md``, ``results.json`` and ``ap_by_frequency.png``.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser, integer_between  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from one_run import box_metrics, one_run, stop_runs
from tqdm import tqdm

from retina_plugin.config.files import write_atomically
from retina_plugin.data import class_counts, load_dataset
from retina_plugin.engine.process import run
from retina_plugin.report.frequency import ap_by_frequency
from retina_plugin.report.grid import write_image

ALPHA, GAMMA, LOSS = (
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA",
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA",
    "MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME",
)
BASE = "MODEL.RETINA_PLUGIN.AUTO_ALPHA_BASE"

# The class losses; each gamma has the alpha of the paper (arXiv 1708.02002, table 1b).
LOSSES: dict[str, dict[str, Any]] = {
    "CE without prior": {LOSS: "ce", "MODEL.RETINANET.PRIOR_PROB": 0.5},
    "CE": {LOSS: "ce"},
    "balanced CE .75": {LOSS: "balanced_ce", ALPHA: 0.75},
    "balanced CE auto": {LOSS: "balanced_ce", ALPHA: "auto", BASE: 0.75},
    "focal 0.5": {GAMMA: 0.5, ALPHA: 0.5},
    "focal 1": {GAMMA: 1.0, ALPHA: 0.25},
    "focal 2": {GAMMA: 2.0, ALPHA: 0.25},
    "focal 5": {GAMMA: 5.0, ALPHA: 0.25},
    "focal 2 auto": {GAMMA: 2.0, ALPHA: "auto"},
}
# Each run takes less than five minutes on one CPU core.
DATA: dict[str, dict[str, Any]] = {
    "digits": {
        "config": "configs/digits/retinanet_longtail.yaml",
        "train": "digits_longtail_train",
        "losses": list(LOSSES),
        "seeds": (1, 2),
        "overrides": {},
    },
    "bccd": {
        "config": "configs/bccd/retinanet_paper.yaml",
        "train": "bccd_train",
        "losses": ["CE", "balanced CE .75", "focal 2", "focal 2 auto"],
        "seeds": (1,),
        "overrides": {
            "INPUT.MIN_SIZE_TRAIN": "(160, 240)",
            "INPUT.MIN_SIZE_TEST": 240,
            "SOLVER.IMS_PER_BATCH": 4,
            "SOLVER.MAX_ITER": 600,
        },
    },
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--data", choices=sorted(DATA), default="digits")
    parser.add_argument("--output-dir", default="output/losses", metavar="FOLDER")
    parser.add_argument(
        "--jobs",
        type=integer_between(1, 1024),
        default=os.cpu_count() or 1,
        help="number of runs at the same time, each on one thread",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="config keys for every run",
    )
    return parser.parse_args(argv)


def mean_of(runs: Sequence[dict[str, float]], key: str) -> float:
    """Return the mean of a metric over runs. A run without detections has no metrics and counts as
    0. The mean is NaN for a class without ground truth in the test set."""
    return mean(run[key] if run.get("AP", -1) >= 0 else 0.0 for run in runs)


def table(
    results: dict[str, list[dict[str, float]]], names: Sequence[str], counts: Sequence[int]
) -> str:
    """Format a Markdown table: a row for each loss with the means over seeds, a column for each
    class, from the most frequent to the rarest."""
    order = sorted(range(len(names)), key=lambda i: -counts[i])
    columns = {"AP": "AP", "AP50": "AP50"} | {
        f"{names[i]} ({counts[i]})": f"AP-{names[i]}" for i in order
    }
    rows = [["loss", *columns, "AP of each seed"], ["---"] * (len(columns) + 2)]
    for loss, runs in results.items():
        values = [f"{mean_of(runs, key):.1f}" for key in columns.values()]
        rows.append([loss, *values, ", ".join(f"{mean_of([run], 'AP'):.1f}" for run in runs)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    data, folder = DATA[args.data], Path(args.output_dir)
    jobs = [(loss, seed) for seed in data["seeds"] for loss in data["losses"]]

    def one(job: tuple[str, int]) -> dict[str, Any]:
        loss, seed = job
        overrides = data["overrides"] | LOSSES[loss] | {"SEED": seed}
        options = [str(item) for pair in overrides.items() for item in pair] + args.opts
        return one_run(
            folder / f"{loss.replace(' ', '_')}-{seed}", data["config"], options, threads=1
        )

    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            runs = list(tqdm(pool.map(one, jobs), total=len(jobs), unit="run"))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_runs()
            raise
    results: dict[str, list[dict[str, float]]] = {}
    for (loss, _), run_result in zip(jobs, runs, strict=True):
        results.setdefault(loss, []).append(box_metrics(run_result["metrics"]))
    report(folder, results, data["train"])
    cpu_seconds = max(run_result["cpu_seconds"] for run_result in runs)
    print(f"at most {cpu_seconds:.0f} CPU seconds a run")


def report(folder: Path, results: dict[str, list[dict[str, float]]], train_set: str) -> None:
    """Print and write the table, the numbers and the figure."""
    dataset = load_dataset(train_set)
    counts = class_counts(dataset.records, dataset.num_classes)
    text = table(results, dataset.class_names, counts)
    print(text)
    write_atomically(str(folder / "table.md"), text)
    write_atomically(str(folder / "results.json"), json.dumps(results, indent=1))
    by_class = {
        loss: [mean_of(runs, f"AP-{name}") for name in dataset.class_names]
        for loss, runs in results.items()
    }
    write_image(str(folder / "ap_by_frequency.png"), ap_by_frequency(by_class, counts))


if __name__ == "__main__":
    run(main)
