"""Evaluate an exported file on a data set as COCO does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from retina_plugin.checkpoint import warn_if_classes_differ
from retina_plugin.data import DatasetError, load_dataset
from retina_plugin.data.samples import EvaluationDataset
from retina_plugin.engine.checks import prepare_data
from retina_plugin.engine.output_folder import make_folder
from retina_plugin.evaluation.coco import coco_results, evaluate
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.evaluation.results import results_folder
from retina_plugin.export.load import load_exported
from retina_plugin.export.overrides import merge_overrides


def evaluate_exported(
    path: str, data: str, output: str, overrides: Sequence[str]
) -> tuple[Any, dict[str, Any]]:
    """Evaluate an exported file as the hosts evaluate a checkpoint, one image at a time.

    Args:
        path: the file.
        data: a data set, as in ``DATASETS.TEST``.
        output: folder for the detections; it is created if it does not exist.
        overrides: ``[KEY, VALUE, ...]`` of keys that say how data are read.

    Returns:
        The config of the evaluation, and ``{"bbox": {"AP": 71.2, ...}}`` in percent.

    Raises:
        ExportError: the file cannot be used.
        DatasetError: the data cannot be used, or have another number of classes.
        ConfigError: a key or the folder cannot be used, or the file has a fixed value of the key.
    """
    detector = load_exported(path)
    cfg = detector.cfg
    merge_overrides(cfg, overrides, path)
    cfg.merge_from_list(["DATASETS.TEST", (data,), "OUTPUT_DIR", output])
    prepare_data(cfg)
    dataset = load_dataset(data)
    if dataset.num_classes != detector.num_classes:
        raise DatasetError(
            f"{data} has {dataset.num_classes} classes, and {path} predicts "
            f"{detector.num_classes}: {', '.join(detector.class_names[:10])}"
        )
    warn_if_classes_differ({"class_names": detector.class_names}, dataset.class_names, path)
    make_folder(output, key="--output")
    samples = EvaluationDataset.from_config(cfg, dataset.records)
    found = {}
    for index in tqdm(range(len(samples)), unit="image", leave=False):
        sample = samples[index]
        detections = detect_samples(detector, [sample]).detections[0]
        found[sample["image_id"]] = coco_results(
            sample["image_id"], detections, dataset.category_ids
        )
    folder = results_folder(cfg, data)
    most = cfg.TEST.DETECTIONS_PER_IMAGE
    return cfg, evaluate(dataset, [found], folder, max_detections=most)
