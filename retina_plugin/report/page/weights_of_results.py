"""Check that the results of a run are those of the checkpoint that its report names.

A results file does not name the weights. An interrupted run leaves the results of its last
evaluation, and ``retina eval --weights`` writes those of any checkpoint. Therefore the AP of the
results is compared with the AP that ``metrics.json`` has for the checkpoint.
"""

from __future__ import annotations

import itertools
import math
import os
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from retina_plugin.data import Dataset, final_sets, validation_sets
from retina_plugin.evaluation.analysis import Analysis

CLOSE = 0.1  # percent; AP that differ less can be of the same weights on other hardware


class Origin(NamedTuple):
    """Where results come from.

    Attributes:
        step: completed steps of the weights; None if they are unknown.
        note: why the weights are not those of the checkpoint; empty if they are.
    """

    step: int | None
    note: str = ""


def origin_of_results(
    cfg: Any,
    analysis: Analysis,
    scalars: Mapping[str, Mapping[int, float]],
    *,
    checkpoint: str,
    step: int,
) -> Origin:
    """Compare the AP of results with that of a checkpoint.

    Args:
        cfg: config of the run.
        analysis: the analysis of the results.
        scalars: see :func:`retina_plugin.engine.metrics_log.read_scalars`.
        checkpoint, step: path and completed steps of the checkpoint.

    Returns:
        The step of the checkpoint, without a note, if ``metrics.json`` has no AP for it.
    """
    names = final_sets(cfg)
    logged_in_training = names == validation_sets(cfg)
    key = f"{analysis.dataset.name}/bbox/AP" if len(names) > 1 else "bbox/AP"
    logged = scalars.get(key if logged_in_training else f"test/{key}", {})
    expected = logged.get(step if logged_in_training else max(logged, default=0), math.nan)
    ap = analysis.sizes[""].ap
    if math.isnan(expected) or abs(ap - expected) <= CLOSE:
        return Origin(step)
    name, again = os.path.basename(checkpoint), shlex.join(["retina", "eval", cfg.OUTPUT_DIR])
    others = [s for s, value in logged.items() if abs(ap - value) <= CLOSE]
    if logged_in_training and others:
        return Origin(
            others[-1],
            f"The results are those after step {others[-1]} with AP {ap:.1f}, not those of {name} "
            f"(step {step}, AP {expected:.1f}): the run was interrupted. {again} evaluates again.",
        )
    return Origin(
        None,
        f"The results of {analysis.dataset.name} have AP {ap:.1f}, but metrics.json has AP "
        f"{expected:.1f} for {name} (step {step}). They are of other weights, or the images or "
        f"annotations have changed since. {again} evaluates again.",
    )


def other_classes(checkpoint: str, metadata: Mapping[str, Any], dataset: Dataset) -> str:
    """Return a note if a checkpoint has other classes than an evaluated data set, else "".

    Args:
        checkpoint: path of the checkpoint.
        metadata: its metadata; without class names, the note is empty.
        dataset: the data set.
    """
    theirs = metadata.get("class_names")
    if not isinstance(theirs, list) or tuple(theirs) == dataset.class_names:
        return ""
    pairs = enumerate(itertools.zip_longest(theirs, dataset.class_names))
    at, names = next((at, names) for at, names in pairs if names[0] != names[1])
    there, here = ("none" if name is None else repr(name) for name in names)
    return (
        f"{checkpoint} was trained with other classes than {dataset.name} has now: class {at} is "
        f"{there} in the file and {here} in the data set. The thresholds of the file are used by "
        "name, and the results by category id: check that the annotations are those of the run."
    )
