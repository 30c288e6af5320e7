"""Format a table of the classes of a data set and the share of boxes that anchors reach."""

from __future__ import annotations

import numpy as np

from retina_plugin.config.printable import printable
from retina_plugin.engine.plan.anchors import AnchorShapes, Array
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.profile import DataProfile

MOST_ROWS = 30


def default_anchors() -> AnchorShapes:
    """Return the anchors of Detectron2's RetinaNet: 3 sizes and 3 aspect ratios on P3 to P7."""
    strides = tuple(2**k for k in range(3, 8))
    sizes = tuple(tuple(4 * s * 2 ** (k / 3) for k in range(3)) for s in strides)
    return AnchorShapes(strides, sizes, (0.5, 1.0, 2.0))


def class_table(profile: DataProfile, size: InputSize, before: Array, after: Array) -> list[str]:
    """Return a table with a row for each class: boxes, sizes, and the share that anchors reach.

    Args:
        profile: profile of the training set.
        size: the network's input size; sizes of boxes are given at this size.
        before, after: (K,) recall of Detectron2's anchors and of the planned anchors.
    """
    sizes = profile.sizes_at(size.short_side)
    names = [printable(name) for name in profile.class_names]
    width = max(map(len, ("class", *names)))
    rows = []
    for k, name in enumerate(names):
        own = sizes[profile.labels == k]
        if not len(own):
            rows.append(f"{name:<{width}}       0")
            continue
        low, middle, high = np.percentile(own, (10, 50, 90))
        rows.append(
            f"{name:<{width}} {len(own):>7} {low:>5.0f} {middle:>5.0f} {high:>5.0f} "
            f"{before[k]:>8.0%} {after[k]:>6.0%}"
        )
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS:] = [f"... and {len(rows) - MOST_ROWS} more classes"]
    title = (
        "Boxes of each class, their sizes (root of the area, 10, 50 and 90%) in pixels of the "
        "network's input,"
    )
    second = "and the share that an anchor reaches with IoU 0.5, by default and in this plan:"
    header = f"{'class':<{width}}   boxes   10%   50%   90%  default   plan"
    return [title, second, header, *rows]
