"""Draw the images of a data set with their annotations, or the samples of the training loader.

    python tools/visualize_data.py --dataset digits_train --output-dir pictures
    python tools/visualize_data.py --config-file configs/digits/retinanet_compact.yaml \\
        --anchors --output-dir pictures
    python tools/visualize_data.py --config-file configs/digits/retinanet_compact.yaml \\
        --source dataloader --output-dir pictures
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import COUNT, Parser, add_labels  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from retina_plugin.config.errors import ConfigError
from retina_plugin.data import Dataset, image_options, load_dataset, read_record
from retina_plugin.data.samples import TrainingDataset, read_without_pixels
from retina_plugin.data.transforms import TransformChain
from retina_plugin.engine.hosts import choose_host
from retina_plugin.engine.process import SkippedFiles, run
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_images import set_pixel_range_from_images
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.preprocessing import padded_size
from retina_plugin.report import (
    LabelMode,
    describe_matched,
    draw_with_legend,
    matched_shares,
    overview,
    resize_for_display,
    write_image,
)

Job = tuple[str, Callable[[], np.ndarray]]  # file name, function that draws the image

CONFIG = {"lightning": "retina_plugin.config", "detectron2": "retina_plugin.d2"}
LOADER = {"lightning": "retina_plugin.lit.data", "detectron2": "retina_plugin.d2.loader"}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--config-file", metavar="FILE", help="show DATASETS.TRAIN of this config")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="show this data set: a name or path, as in DATASETS.TRAIN",
    )
    parser.add_argument("--source", choices=("annotation", "dataloader"), default="annotation")
    parser.add_argument(
        "--host",
        choices=("auto", "detectron2", "lightning"),
        default="auto",
        help="the host of the data loader, as in training",
    )
    parser.add_argument(
        "--anchors",
        action="store_true",
        help="also print the share of boxes that the anchors of --config-file match",
    )
    parser.add_argument("--output-dir", default="pictures", metavar="FOLDER")
    parser.add_argument(
        "--max-images",
        type=COUNT,
        default=50,
        help="number of images; 0: all, which is not possible for the endless data loader",
    )
    add_labels(parser)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys"
    )
    args = parser.parse_args(argv)
    if not (args.config_file or args.dataset):
        parser.error("expected --config-file, --dataset or both")
    if args.source == "dataloader" and not (args.config_file and args.max_images):
        parser.error("--source dataloader needs --config-file and --max-images above 0")
    if args.anchors and not args.config_file:
        parser.error("--anchors needs --config-file")
    return args


def config_of(args: argparse.Namespace, host: str) -> Any:
    """Read the config of the host. ``--dataset`` replaces its training sets.

    This imports the user's modules of ``IMPORTS``, which may register data sets.

    Raises:
        ConfigError: the config cannot be used, or has no training set.
    """
    cfg = read_config(importlib.import_module(CONFIG[host]).get_cfg(), args.config_file, args.opts)
    if args.dataset:
        cfg.DATASETS.TRAIN = (args.dataset,)
    if not cfg.DATASETS.TRAIN:
        raise ConfigError(
            f"{args.config_file}: DATASETS.TRAIN is empty: name a data set or its path"
        )
    return cfg


def annotation_jobs(
    datasets: Iterable[Dataset], options: dict[str, Any], label_mode: LabelMode
) -> list[Job]:
    """Return a job for every image of the data sets, with its annotations.

    Args:
        options: see :func:`retina_plugin.data.image_options`.
        label_mode: see :func:`retina_plugin.report.draw_boxes`.
    """
    return [
        (r["file_name"], partial(draw_record, dataset, r, options, label_mode))
        for dataset in datasets
        for r in dataset.records
    ]


def matched_boxes(cfg: Any, dataset: Dataset) -> tuple[list[float], str]:
    """Measure the share of boxes of each class that the anchors match after the transforms of
    training.

    Returns:
        The share of each class, and a line that describes the measurement.
    """
    threshold, seed = cfg.MODEL.RETINANET.IOU_THRESHOLDS[-1], max(cfg.SEED, 0)
    transforms = TransformChain.from_config(cfg)
    read = (
        partial(read_record, **image_options(cfg))
        if transforms.needs_pixels
        else read_without_pixels
    )
    samples = TrainingDataset(
        dataset.records,
        transforms=transforms,
        read=read,
        input_format=cfg.INPUT.FORMAT,
        seed=seed,
    )
    anchors = anchors_of(cfg, dataset.num_classes)
    shares = matched_shares(dataset, samples.sample, anchors, threshold=threshold, seed=seed)
    return shares, describe_matched(dataset, threshold=threshold, seed=seed)


def anchors_of(cfg: Any, num_classes: int) -> Callable[[int, int], Tensor]:
    """Return a function that maps height and width of an image to its anchors (R, 4)."""
    cfg = cfg.clone()
    cfg.MODEL.RETINANET.NUM_CLASSES, cfg.MODEL.DEVICE = num_classes, "cpu"
    model = build_model(cfg)

    @lru_cache(maxsize=8)
    def of_padded(height: int, width: int) -> Tensor:
        grids = [
            (-(-height // stride), -(-width // stride)) for stride in model.anchor_generator.strides
        ]
        anchors: Tensor = model.anchor_generator(grids).boxes
        return anchors

    return lambda *size: of_padded(*padded_size([size], model.preprocessor.size_divisibility))


def draw_record(
    dataset: Dataset, record: dict[str, Any], options: dict[str, Any], label_mode: LabelMode
) -> np.ndarray:
    """Draw an image with its annotations."""
    objects = record["annotations"]
    image, boxes = resize_for_display(
        read_record(record, **options), [a["bbox"] for a in objects], min_side=300
    )
    labels, crowd = [a["category_id"] for a in objects], [bool(a["iscrowd"]) for a in objects]
    return draw_with_legend(
        image,
        boxes,
        labels,
        class_names=dataset.class_names,
        crowd=crowd,
        label_mode=label_mode,
    )


def loader_jobs(
    cfg: Any, host: str, class_names: Sequence[str], label_mode: LabelMode
) -> Iterator[Job]:
    """Yield a job for each sample of the training loader of ``host``, endlessly."""
    for sample in importlib.import_module(LOADER[host]).training_samples(cfg):
        yield sample["file_name"], partial(draw_sample, sample, class_names, label_mode)


def draw_sample(
    sample: dict[str, Any], class_names: Sequence[str], label_mode: LabelMode
) -> np.ndarray:
    """Draw a sample of a data loader: "image" (3, H, W) RGB, "boxes" (M, 4), "labels" (M,)."""
    image, boxes = resize_for_display(
        sample["image"].permute(1, 2, 0).numpy(), sample["boxes"].numpy(), min_side=300
    )
    labels = sample["labels"].tolist()
    return draw_with_legend(image, boxes, labels, class_names=class_names, label_mode=label_mode)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    host, reason = choose_host(args.host)
    cfg = config_of(args, host)
    datasets = [load_dataset(name) for name in cfg.DATASETS.TRAIN]
    # the data set need not have the number of classes of the config
    cfg.MODEL.RETINANET.NUM_CLASSES = datasets[0].num_classes
    set_pixel_range_from_images(cfg, [record for dataset in datasets for record in dataset.records])
    for dataset in datasets:
        shares, description = matched_boxes(cfg, dataset) if args.anchors else (None, "")
        print(overview(dataset, shares))
        if description:
            print(description)
    jobs: Iterator[Job]
    if args.source == "dataloader":
        print(f"host: {host} ({reason})")
        samples = loader_jobs(cfg, host, datasets[0].class_names, args.labels)
        jobs, count = islice(samples, args.max_images), args.max_images
    else:
        images = annotation_jobs(datasets, image_options(cfg), args.labels)[
            : args.max_images or None
        ]
        jobs, count = iter(images), len(images)
    os.makedirs(args.output_dir, exist_ok=True)
    skipped = SkippedFiles()
    for number, (file_name, draw) in enumerate(tqdm(jobs, total=count, unit="image")):
        stem = os.path.splitext(os.path.basename(file_name))[0]
        with skipped:
            write_image(os.path.join(args.output_dir, f"{number:05d}_{stem}.jpg"), draw())
    skipped.report(count)
    print(f"{count - len(skipped.reasons)} pictures in {args.output_dir}")


if __name__ == "__main__":
    run(main)
