"""Look at results: truth beside detections, one picture for each image.

python tools/visualize_json_results.py --input output/digits/inference/coco_instances_results.json --dataset digits_test --output pictures
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from tqdm import tqdm

from retina_plugin.data import DatasetError, load_dataset, read_image
from retina_plugin.report import results_by_image, side_by_side, write_picture
from retina_plugin.report.cli import run


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, metavar="JSON", help="results in COCO's format")
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="a registered name or annotations.json@image_folder"
    )
    parser.add_argument("--output", default="pictures", metavar="FOLDER")
    parser.add_argument("--conf-threshold", type=float, default=0.5, help="detections below are not shown")
    parser.add_argument("--max-images", type=int, default=0, help="0: all")
    return parser.parse_args(argv)


def read_results(path: str) -> list[dict[str, Any]]:
    """The results in a file.

    Raises:
        DatasetError: missing, broken, or in another layout.
    """
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except FileNotFoundError as error:
        raise DatasetError(f"no results at {path}; tools/train_net.py writes them to OUTPUT_DIR/inference") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not JSON ({error})") from error
    needed = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(results, list) or any(not isinstance(r, dict) or not needed <= set(r) for r in results):
        raise DatasetError(f"{path}: expected a list of results with {', '.join(sorted(needed))}")
    return results


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    dataset = load_dataset(args.dataset)
    found = results_by_image(dataset, read_results(args.input), args.conf_threshold)
    os.makedirs(args.output, exist_ok=True)
    records = dataset.records[: args.max_images or None]
    for record in tqdm(records, unit="image"):
        name = os.path.basename(record["file_name"])
        here = found[record["image_id"]]
        picture = side_by_side(
            read_image(record["file_name"]), record["annotations"], here, class_names=dataset.class_names, caption=name
        )
        write_picture(os.path.join(args.output, f"{os.path.splitext(name)[0]}.jpg"), picture)
    print(f"{len(records)} pictures in {args.output}")


if __name__ == "__main__":
    run(main)
