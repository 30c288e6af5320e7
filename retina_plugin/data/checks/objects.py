"""Rules about the network's limits: small boxes, too many objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retina_plugin.data.checks.box_table import BoxTable
from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.network_view import NetworkView
from retina_plugin.data.checks.rules import SMALL_BOX


def check_small(checked: CheckedSet, table: BoxTable, view: NetworkView) -> Iterator[Finding]:
    """Check the rule small-box."""
    sides = np.sqrt((table.boxes[:, 2:] - table.boxes[:, :2]).prod(1))
    seen = sides * view.scales(table.image_sizes)[table.images]
    for i in np.flatnonzero(seen < SMALL_BOX).tolist():
        x0, y0, x1, y1 = table.boxes[i]
        yield checked.finding(
            "small-box",
            table.record_of(i)["file_name"],
            f"{x1 - x0:.3g}x{y1 - y0:.3g} pixels, {seen[i]:.2g} pixels large in an input of "
            f"{view.min_size}: use a larger input or windows, or remove the box",
            annotation=table.annotations[i],
        )


def check_number(checked: CheckedSet, table: BoxTable, view: NetworkView) -> Iterator[Finding]:
    """Check the rule too-many-objects."""
    counts = np.bincount(table.images, minlength=len(table.records))
    for i in np.flatnonzero(counts > view.detections).tolist():
        yield checked.finding(
            "too-many-objects",
            table.records[i]["file_name"],
            f"{counts[i]} boxes, but at most {view.detections} detections: set "
            f"TEST.DETECTIONS_PER_IMAGE to {counts.max()} or more",
        )
