"""Report the results of a run: print the metrics and draw detections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from retina_plugin.data import final_sets, image_options, load_dataset
from retina_plugin.evaluation.metric_notes import metric_notes, nan_reasons
from retina_plugin.evaluation.results import (
    RESULTS_FILE,
    read_results,
    results_folder,
    results_table,
)
from retina_plugin.report.grid import prediction_grid, write_image


def report_results(cfg: Any, results: dict[str, Any]) -> None:
    """Print the metrics and write ``predictions.png`` of the first set into ``OUTPUT_DIR``.

    Args:
        cfg: config of the run, with at least one set to evaluate.
        results: ``{"bbox": {"AP": 71.2, ..., "AP-cat": 70.1}}``, or ``{name: {"bbox": ...}}`` for
            several sets; ``{}`` replaces the metrics of a set without ground truth.
    """
    names = final_sets(cfg)
    for name in names:
        metrics = results if len(names) == 1 else results.get(name, {})
        if len(names) > 1:
            print(name)
        print(_summary(cfg, name, metrics))
    name = names[0]
    path = os.path.join(cfg.OUTPUT_DIR, "predictions.png")
    found = read_results(cfg, name)
    write_image(path, prediction_grid(load_dataset(name), found, options=image_options(cfg)))
    print(f"pictures: {path}")


def _summary(cfg: Any, name: str, results: Mapping[str, Any]) -> str:
    """Return the table of one test set, or the reason why it has no metrics."""
    dataset = load_dataset(name)
    if "bbox" in results:
        metrics = results["bbox"]
        return results_table(
            metrics,
            nan_reasons(dataset, metrics),
            metric_notes(dataset, cfg.TEST.DETECTIONS_PER_IMAGE),
        )
    path = os.path.join(results_folder(cfg, name), RESULTS_FILE)
    return (
        f"no metrics: {dataset.json_file} has no annotations, as COCO's test-dev. The detections "
        f"are in {path}."
    )
