"""Choose the input size for checks of data sets, and run the fast checks before training."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from retina_plugin.data import Dataset, evaluated_sets, load_dataset
from retina_plugin.data.catalog import has_annotations
from retina_plugin.data.checks import Finding, NetworkView, quick_findings
from retina_plugin.engine.plan.input_size import choose_input_size
from retina_plugin.engine.plan.machine import this_machine
from retina_plugin.engine.plan.profile import profile_of


def planned_view(cfg: Any, overrides: Sequence[str]) -> Callable[[Dataset], NetworkView]:
    """Return a function from a training set to the network's input size and limits for it.

    Args:
        cfg: a config with the overrides.
        overrides: ``[KEY, VALUE, ...]``. If they set the size of test images, that size is used;
            otherwise the size that a plan would choose.
    """
    if "INPUT.MIN_SIZE_TEST" in overrides:
        return lambda _: NetworkView.from_config(cfg)

    def planned(dataset: Dataset) -> NetworkView:
        size = choose_input_size(profile_of(dataset), gpu=bool(this_machine().gpu))
        limit = cfg.TEST.DETECTIONS_PER_IMAGE
        return NetworkView(size.short_side, size.long_side, detections=limit)

    return planned


def data_check_line(cfg: Any) -> str:
    """Check the data sets of a training run with the fast rules.

    Args:
        cfg: a config with known data sets. Data sets that a function in Detectron2's catalog
            returns are skipped.

    Returns:
        A line with the counts, the first finding, and the command that shows all; "" if there is no
        finding.
    """
    names = [list(cfg.DATASETS.TRAIN), evaluated_sets(cfg)]
    training, validation = (
        [load_dataset(name) for name in some if has_annotations(name)] for some in names
    )
    found = quick_findings(training, validation, NetworkView.from_config(cfg))
    if not found:
        return ""
    counts = Counter(finding.rule for finding in found)
    shown = ", ".join(f"{count} {rule}" for rule, count in counts.items())
    known = dict.fromkeys(dataset.name for dataset in (*training, *validation))
    sizes = {"INPUT.MIN_SIZE_TEST": cfg.INPUT.MIN_SIZE_TEST}
    sizes["INPUT.MAX_SIZE_TEST"] = cfg.INPUT.MAX_SIZE_TEST
    words = [*known, *(str(word) for pair in sizes.items() for word in pair)]
    return (
        f"data check: {shown} (first: {_describe(found[0])}). To see all: retina data check "
        f"{shlex.join(words)}"
    )


def _describe(finding: Finding) -> str:
    name = "" if finding.annotation is None else f", annotation {finding.annotation}"
    return f"{finding.file}{name}: {finding.message}"
