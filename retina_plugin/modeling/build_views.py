"""Build the views of an image from a config."""

from __future__ import annotations

from functools import partial
from typing import Any

from retina_plugin.modeling.merging import merge_greedily, suppress_together
from retina_plugin.modeling.suppressors import Suppressor
from retina_plugin.modeling.views import Slices, Views


def uses_views(cfg: Any) -> bool:
    """Return whether objects are detected in several views of an image."""
    return bool(cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE > 0)


def build_views(cfg: Any, suppressor: Suppressor) -> Views | None:
    """Return the views that a config describes; None if an image is detected as a whole.

    Args:
        cfg: either host's config.
        suppressor: the suppressor of the config.
    """
    if not uses_views(cfg):
        return None
    return Views(
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        slices=_slices(cfg, suppressor),
        batch=cfg.MODEL.RETINA_PLUGIN.TEST.VIEWS_PER_BATCH,
    )


def _slices(cfg: Any, suppressor: Suppressor) -> Slices:
    node, limit = cfg.MODEL.RETINA_PLUGIN.TEST.SLICE, cfg.TEST.DETECTIONS_PER_IMAGE
    merge = (
        partial(merge_greedily, threshold=node.MERGE_THRESHOLD, max_detections=limit)
        if node.MERGE == "greedy"
        else partial(suppress_together, suppressor=suppressor, max_detections=limit)
    )
    return Slices(size=node.SIZE, overlap=node.OVERLAP, full_image=node.FULL_IMAGE, merge=merge)
