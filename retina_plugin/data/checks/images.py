"""Rules about image files: unreadable, dark, bright, blank, of unusual size, shape or pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.rules import BRIGHT, DARK, MOST_UNUSUAL, OUTLIER
from retina_plugin.data.pixel_kinds import describe_kinds
from retina_plugin.data.thumbnails import FLAT

MIN_IMAGES = 10  # quartiles of fewer images are too uncertain


def check_decoding(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rule unreadable-image for files with a valid header: decode their pixels."""
    for path, thumbnail in checked.thumbnails.items():
        if thumbnail.error:
            yield checked.finding("unreadable-image", path, f"cannot be decoded: {thumbnail.error}")


def check_brightness(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rules dark-image, bright-image and blank-image."""
    for path, thumbnail in checked.thumbnails.items():
        if thumbnail.error:
            continue
        if thumbnail.deviation < FLAT:
            message = f"all pixels have about the grey value {thumbnail.low:.0f}"
            yield checked.finding("blank-image", path, message)
        elif thumbnail.high < DARK:
            message = f"99% of the pixels have a grey value below {thumbnail.high:.0f}"
            yield checked.finding("dark-image", path, message)
        elif thumbnail.low > BRIGHT:
            message = f"95% of the pixels have a grey value above {thumbnail.low:.0f}"
            yield checked.finding("bright-image", path, message)


def check_pixels(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rule mixed-pixels."""
    counts = Counter(checked.pixels.values())
    for kind, count in counts.most_common()[1:]:
        first = next(path for path, other in checked.pixels.items() if other == kind)
        usual = describe_kinds(Counter(dict(counts.most_common(1))))
        yield checked.finding("mixed-pixels", first, f"{count} {kind}, most are {usual}")


def check_outliers(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rules unusual-size and unusual-shape."""
    records = checked.dataset.records
    if len(records) < MIN_IMAGES:
        return
    sizes = np.array([(r["width"], r["height"]) for r in records], dtype=np.float64)
    sides = np.sqrt(sizes.prod(1))
    usual = f"the median is {np.median(sizes[:, 0]):.0f}x{np.median(sizes[:, 1]):.0f}"
    for rule, values, least in (
        ("unusual-size", sides, float(np.median(sides)) / 10),
        ("unusual-shape", np.log(sizes[:, 0] / sizes[:, 1]), 0.1),
    ):
        for i in np.flatnonzero(_is_outlier(values, least)).tolist():
            size = f"{records[i]['width']}x{records[i]['height']}"
            yield checked.finding(rule, records[i]["file_name"], f"{size}; {usual}")


def _is_outlier(values: np.ndarray, least: float) -> np.ndarray:
    """Return (N,) bool: whether each value is far outside the quartiles.

    The result is all False if more than :data:`MOST_UNUSUAL` of the values are outside.

    Args:
        values: (N,).
        least: the smallest interquartile range that is used.
    """
    low, high = np.quantile(values, (0.25, 0.75))
    reach = OUTLIER * max(high - low, least)
    outside: np.ndarray = (values < low - reach) | (values > high + reach)
    return outside if outside.mean() <= MOST_UNUSUAL else np.zeros_like(outside)
