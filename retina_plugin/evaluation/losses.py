"""Compute the losses of a data set from the losses of its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from retina_plugin.modeling.structures import ImageLosses

TOTAL = "total_loss"


def data_set_losses(found: Iterable[Mapping[Any, ImageLosses]]) -> dict[str, float]:
    """Return the losses of a data set: sums over its images, divided by the number of positives.

    In training, the sums of a batch are divided by a moving average of the number of positives. So
    both have the same scale, but the losses here depend only on the weights and the data. Without
    positives, the sums are divided by 1, as in training.

    Args:
        found: for each process, a mapping from image ids to losses; several processes may have
            the same image.

    Returns:
        ``{"total_loss": 1.3, "loss_cls": 0.8, "loss_box_reg": 0.5}``; empty without images.
    """
    by_image = {image: losses for part in found for image, losses in part.items()}
    if not by_image:
        return {}
    ordered = [by_image[image] for image in sorted(by_image, key=str)]  # sums depend on the order
    positives = max(sum(losses.positives for losses in ordered), 1)
    names = ordered[0].sums
    means = {name: sum(losses.sums[name] for losses in ordered) / positives for name in names}
    return {TOTAL: sum(means.values()), **means}
