"""Draw the figures of docs/theory.md with this project's losses, and measure how the loss of a
trained model is distributed over its anchors.

    python tools/plot_losses.py --output figures
    python tools/plot_losses.py --config-file output/config.yaml \\
        --weights output/model_final.pth --output figures
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import COUNT, Parser  # first, to handle Ctrl-C during imports

# isort: split
import argparse
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from retina_plugin import build_model, get_cfg, load_weights
from retina_plugin.checkpoint import WeightsError
from retina_plugin.data import final_sets, image_options, load_dataset
from retina_plugin.engine.checks import resolve_num_classes
from retina_plugin.engine.process import run
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_images import set_pixel_range_from_metadata
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.report import write_image
from retina_plugin.report.imbalance import (
    anchor_losses,
    cumulative_share,
    easy_to_hard,
    loss_variants,
)
from retina_plugin.report.loss_figures import (
    cross_entropy_figure,
    derivatives_figure,
    focal_figure,
    loss_shares_figure,
    loss_variants_figure,
)

GAMMAS = (0.0, 0.5, 1.0, 2.0)  # as in figure 4 of the paper (arXiv 1708.02002)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--output", default="figures", metavar="FOLDER")
    parser.add_argument(
        "--config-file", metavar="FILE", help="config.yaml of a run, to measure its model"
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint; else MODEL.WEIGHTS of the config"
    )
    parser.add_argument(
        "--max-images",
        type=COUNT,
        default=400,
        help="number of images to measure, from the first of DATASETS.TEST; 0: all",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys"
    )
    args = parser.parse_args(argv)
    if not args.config_file and (args.weights or args.opts):
        parser.error("--weights and overrides need --config-file")
    return args


def load(args: argparse.Namespace) -> tuple[RetinaNet, list[dict[str, Any]], dict[str, Any]]:
    """Build the model, load its weights, and choose test images.

    Returns:
        The model in evaluation mode; evenly spaced records of the first test set; the options for
        reading images, see :func:`retina_plugin.data.image_options`.

    Raises:
        WeightsError: no checkpoint is given, or it does not match the model.
        ConfigError: the config cannot be used or has no test set.
    """
    cfg = read_config(get_cfg(), args.config_file, args.opts)
    path = args.weights or cfg.MODEL.WEIGHTS
    if not path:
        raise WeightsError("no checkpoint: add --weights path/to/model_final.pth")
    resolve_num_classes(cfg, lambda name: load_dataset(name).class_names, eval_only=True)
    model = build_model(cfg)
    set_pixel_range_from_metadata(cfg, load_weights(model, path), path)
    records = load_dataset(final_sets(cfg)[0]).records
    count = min(args.max_images or len(records), len(records))
    chosen = [records[i] for i in np.linspace(0, len(records) - 1, count).round().astype(int)]
    return model.eval(), chosen, image_options(cfg)


def shares_table(objects: Tensor, background: Tensor) -> str:
    """Format a table with a line for each of :data:`GAMMAS`: the share of the loss that comes from
    the hardest anchors, and from background."""
    lines = ["gamma  hardest 20 % of objects  hardest 1 % of background  background in all loss"]
    for gamma, *rows in zip(GAMMAS, objects, background, strict=True):
        hardest = [
            1 - cumulative_share(row)[round(len(row) * (1 - part))]
            for row, part in zip(rows, (0.2, 0.01), strict=True)
        ]
        whole = rows[1].sum() / (rows[0].sum() + rows[1].sum())
        lines.append(f"{gamma:5g}  {hardest[0]:>23.1%}  {hardest[1]:>25.1%}  {whole:>22.1%}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    figures = {
        "cross_entropy": cross_entropy_figure(),
        "focal_loss": focal_figure(),
        "focal_derivatives": derivatives_figure(),
        "imbalance": loss_variants_figure(loss_variants()),
    }
    for variant in loss_variants():
        print(f"{easy_to_hard(variant):>9.3g} : 1  {variant.name}")
    if args.config_file:
        model, records, options = load(args)
        objects, background = anchor_losses(
            model, tqdm(records, unit="image"), gammas=GAMMAS, options=options
        )
        figures["loss_shares"] = loss_shares_figure(objects, background, GAMMAS)
        print(shares_table(objects, background))
    os.makedirs(args.output, exist_ok=True)
    for name, figure in figures.items():
        write_image(os.path.join(args.output, f"{name}.png"), figure)
    print(f"{len(figures)} figures in {args.output}")


if __name__ == "__main__":
    run(main)
