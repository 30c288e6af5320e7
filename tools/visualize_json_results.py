"""Draw ground truth next to detections for each image, from a file of results.

    python tools/visualize_json_results.py --dataset digits_test --output pictures \\
        --input output/inference/coco_instances_results.json
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import (
    COUNT,
    Parser,
    add_labels,
    fraction,
)  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import json
from typing import Any

from tqdm import tqdm

from retina_plugin import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import require_regular_file
from retina_plugin.data import DatasetError, final_sets, image_options, load_dataset, read_record
from retina_plugin.data.finite import is_number
from retina_plugin.engine.process import SkippedFiles, run
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_images import set_pixel_range_from_images
from retina_plugin.report import results_by_image, side_by_side, write_image

LARGEST = 1e6  # pixels; larger coordinates overflow the 32 bits of the drawing functions


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--input", required=True, metavar="JSON", help="results in COCO's format")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="a name or path, as in DATASETS.TEST; default: the first of DATASETS.TEST",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="config.yaml of the run, for reading its data and images; without it, the pixel range "
        "of images with more than 8 bits or floats is measured in the data set",
    )
    parser.add_argument("--output", default="pictures", metavar="FOLDER")
    parser.add_argument(
        "--conf-threshold", type=fraction, default=0.5, help="lower scores are not shown (0.5)"
    )
    parser.add_argument("--max-images", type=COUNT, default=0, help="0: all")
    add_labels(parser)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys"
    )
    args = parser.parse_args(argv)
    if not (args.config_file or args.dataset):
        parser.error("expected --dataset, --config-file or both")
    return args


def config_of(args: argparse.Namespace) -> Any:
    """Read the config. ``--dataset`` replaces its test sets.

    This imports the user's modules of ``IMPORTS``, which may register data sets.

    Raises:
        ConfigError: the config cannot be used, or has no test set.
    """
    cfg = read_config(get_cfg(), args.config_file, args.opts)
    if args.dataset:
        cfg.DATASETS.TEST = (args.dataset,)
    if not final_sets(cfg):
        raise ConfigError(
            f"{args.config_file}: DATASETS.TEST is empty: name the data set of the results, "
            "--dataset NAME"
        )
    return cfg


def read_results(path: str) -> list[dict[str, Any]]:
    """Read results in COCO's format from a file.

    Raises:
        DatasetError: the file is missing, broken, or in another format.
    """
    try:
        require_regular_file(path)
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except FileNotFoundError as error:
        raise DatasetError(
            f"no results at {path}; tools/train_net.py writes them to OUTPUT_DIR/inference"
        ) from error
    except OSError as error:
        raise DatasetError(f"results {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error})") from error
    if not isinstance(results, list):
        raise DatasetError(f"{path}: expected a list of results, found {type(results).__name__}")
    for index, result in enumerate(results):
        if not _is_result(result):
            raise DatasetError(
                f"{path}: entry {index} needs image_id, category_id, bbox [x, y, width, height] in "
                f"pixels (at most {LARGEST:g}) and "
                f"score (0 to 1), found {result!r:.200}"
            )
    return results


def _is_result(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"image_id", "category_id", "bbox", "score"} <= set(
        entry
    ):
        return False
    box = entry["bbox"]
    if not all(
        is_number(entry[key]) or isinstance(entry[key], str) for key in ("image_id", "category_id")
    ):
        return False
    if not (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, (*box, entry["score"])))
    ):
        return False
    return bool(max(map(abs, box)) <= LARGEST and 0 <= entry["score"] <= 1)


def drop_negative(results: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Drop results with a negative width or height, and print how many were dropped."""
    bad = [index for index, result in enumerate(results) if min(result["bbox"][2:]) < 0]
    if not bad:
        return results
    print(
        f"{path}: {len(bad)} of {len(results)} results have a negative width or height and were "
        f"dropped (first: entry {bad[0]}, bbox {results[bad[0]]['bbox']}). COCO's boxes are "
        "[x, y, width, height]; are these [x1, y1, x2, y2]?"
    )
    return [result for result in results if min(result["bbox"][2:]) >= 0]


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    cfg = config_of(args)
    dataset = load_dataset(final_sets(cfg)[0])
    results = drop_negative(read_results(args.input), args.input)
    found = results_by_image(dataset, results, args.conf_threshold)
    set_pixel_range_from_images(cfg, dataset.records)
    options = image_options(cfg)
    os.makedirs(args.output, exist_ok=True)
    records = dataset.records[: args.max_images or None]
    skipped = SkippedFiles()
    for number, record in enumerate(tqdm(records, unit="image")):
        name = os.path.basename(record["file_name"])
        path = os.path.join(args.output, f"{number:05d}_{os.path.splitext(name)[0]}.jpg")
        with skipped:
            drawing = side_by_side(
                read_record(record, **options),
                record["annotations"],
                found[record["image_id"]],
                class_names=dataset.class_names,
                caption=name,
                label_mode=args.labels,
            )
            write_image(path, drawing)
    skipped.report(len(records))
    shown = sum(map(len, found.values()))
    print(f"{len(records) - len(skipped.reasons)} pictures in {args.output}")
    print(f"{shown} of {len(results)} detections reach {args.conf_threshold:.0%}")


if __name__ == "__main__":
    run(main)
