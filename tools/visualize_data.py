"""Look at a data set: its annotations, or what the data loader feeds to training.

python tools/visualize_data.py --dataset digits_train --output-dir pictures
python tools/visualize_data.py --config-file configs/digits/retinanet_compact.yaml --source dataloader --output-dir pictures
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from retina_plugin.data import load_dataset, read_image
from retina_plugin.report import draw_boxes, enlarge, write_picture
from retina_plugin.report.cli import run

Picture = tuple[str, np.ndarray]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="show DATASETS.TRAIN of this config")
    what.add_argument("--dataset", metavar="NAME", help="a registered name or annotations.json@image_folder")
    parser.add_argument("--source", choices=("annotation", "dataloader"), default="annotation")
    parser.add_argument("--host", choices=("lightning", "detectron2"), default="lightning", help="whose data loader")
    parser.add_argument("--output-dir", default="pictures")
    parser.add_argument(
        "--max-images", type=int, default=50, help="0: all; the data loader never ends and needs a number"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys")
    args = parser.parse_args(argv)
    if args.source == "dataloader" and not (args.config_file and args.max_images):
        parser.error("--source dataloader needs --config-file and --max-images above 0")
    return args


def read_config(args: argparse.Namespace) -> Any:
    """The config of the chosen host's kind."""
    module = {"lightning": "retina_plugin.config", "detectron2": "retina_plugin.d2"}[args.host]
    cfg = importlib.import_module(module).get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    return cfg


def annotations(names: list[str]) -> Iterator[Picture]:
    """(file name, picture) of every image, as annotated."""
    for name in names:
        dataset = load_dataset(name)
        for record in dataset.records:
            objects = record["annotations"]
            image, boxes = enlarge(read_image(record["file_name"]), np.array([a["bbox"] for a in objects]), least=300)
            labels, crowd = [a["category_id"] for a in objects], [bool(a["iscrowd"]) for a in objects]
            yield record["file_name"], draw_boxes(image, boxes, labels, class_names=dataset.class_names, crowd=crowd)


def loaded(cfg: Any, host: str) -> Iterator[Picture]:
    """(file name, picture) of what the training loader of ``host`` feeds: resized, flipped, cropped. It never ends."""
    names = load_dataset(cfg.DATASETS.TRAIN[0]).class_names
    module = {"lightning": "retina_plugin.lit.data", "detectron2": "retina_plugin.d2.datasets"}[host]
    for sample in importlib.import_module(module).training_samples(cfg):
        image, boxes = enlarge(sample["image"].permute(1, 2, 0).numpy(), sample["boxes"].numpy(), least=300)
        yield sample["file_name"], draw_boxes(image, boxes, sample["labels"].tolist(), class_names=names)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    cfg = read_config(args) if args.config_file else None
    names = list(cfg.DATASETS.TRAIN) if cfg else [args.dataset]
    pictures = loaded(cfg, args.host) if args.source == "dataloader" else annotations(names)
    os.makedirs(args.output_dir, exist_ok=True)
    total = None if args.source == "dataloader" else sum(len(load_dataset(name).records) for name in names)
    count = min(args.max_images or total, total or args.max_images)
    for number, (file_name, picture) in enumerate(tqdm(islice(pictures, count), total=count, unit="image")):
        stem = os.path.splitext(os.path.basename(file_name))[0]
        write_picture(os.path.join(args.output_dir, f"{number:05d}_{stem}.jpg"), picture)
    print(f"{count} pictures in {args.output_dir}")


if __name__ == "__main__":
    run(main)
