"""Check that the results of a run are those of the checkpoint that its report names.

A results file does not name the weights. An interrupted run leaves the results of its last
evaluation, and ``retina eval --weights`` writes those of any checkpoint. Therefore the AP of the
results is compared with the AP that ``metrics.json`` has for the checkpoint.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from retina_plugin.data import final_sets, validation_sets
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
