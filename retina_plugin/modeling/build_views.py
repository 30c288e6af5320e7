"""Build the views of an image from a config."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from retina_plugin.modeling.merging import (
    fuse,
    fuse_and_suppress,
    merge_greedily,
    suppress_together,
)
from retina_plugin.modeling.suppressors import ClassAgnosticNMS, Suppressor
from retina_plugin.modeling.views import Merge, Slices, Versions, Views

# With a lower score threshold, correct boxes would grow to enclose many wrong ones. SAHI has the
# same rule.
LEAST_SCORE = 0.1


def uses_views(cfg: Any) -> bool:
    """Return whether objects are detected in several views of an image."""
    return bool(cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE > 0 or cfg.TEST.AUG.ENABLED)


def averages_scores(cfg: Any) -> bool:
    """Return whether the score of a detection is a mean over versions of the image.

    In this case, a score threshold that is applied to each version changes the score.
    """
    return bool(cfg.TEST.AUG.ENABLED and cfg.MODEL.RETINA_PLUGIN.TEST.AUG.MERGE == "wbf")


def build_views(cfg: Any, suppressor: Suppressor) -> Views | None:
    """Return the views that a config describes; None if an image is detected as a whole.

    Args:
        cfg: either host's config.
        suppressor: the suppressor of the config.
    """
    if not uses_views(cfg):
        return None
    return Views(
        slices=_slices(cfg, suppressor) if cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE else None,
        versions=_versions(cfg, suppressor),
        batch=cfg.MODEL.RETINA_PLUGIN.TEST.VIEWS_PER_BATCH,
        only_suppresses=not (averages_scores(cfg) or _merges_greedily(cfg)),
    )


def _merges_greedily(cfg: Any) -> bool:
    node = cfg.MODEL.RETINA_PLUGIN.TEST.SLICE
    certain = cfg.MODEL.RETINANET.SCORE_THRESH_TEST >= LEAST_SCORE
    greedy = node.MERGE == "greedy" or (node.MERGE == "auto" and certain)
    return bool(node.SIZE and greedy)


def _versions(cfg: Any, suppressor: Suppressor) -> Versions:
    node, limit = cfg.MODEL.RETINA_PLUGIN.TEST.AUG, cfg.TEST.DETECTIONS_PER_IMAGE
    together: Merge = partial(suppress_together, suppressor=suppressor, max_detections=limit)
    if not cfg.TEST.AUG.ENABLED:
        return Versions(
            min_sizes=(cfg.INPUT.MIN_SIZE_TEST,),
            max_size=cfg.INPUT.MAX_SIZE_TEST,
            flips=((False, False),),
            merge=together,
        )
    mirrored = (False, True) if cfg.TEST.AUG.FLIP else (False,)
    upside_down = (False, True) if node.VERTICAL_FLIP else (False,)
    return Versions(
        min_sizes=tuple(cfg.TEST.AUG.MIN_SIZES),
        max_size=cfg.TEST.AUG.MAX_SIZE,
        flips=tuple((x, y) for y in upside_down for x in mirrored),
        merge=_fusion(node.WBF_THRESHOLD, suppressor, limit) if node.MERGE == "wbf" else together,
    )


def _fusion(threshold: float, suppressor: Suppressor, limit: int) -> Merge:
    if not isinstance(suppressor, ClassAgnosticNMS):
        return partial(fuse, threshold=threshold, max_detections=limit)
    return partial(
        fuse_and_suppress, threshold=threshold, suppressor=suppressor, max_detections=limit
    )


def _slices(cfg: Any, suppressor: Suppressor) -> Slices:
    node, limit = cfg.MODEL.RETINA_PLUGIN.TEST.SLICE, cfg.TEST.DETECTIONS_PER_IMAGE
    merge: Merge = (
        partial(
            merge_greedily,
            threshold=node.MERGE_THRESHOLD,
            max_detections=limit,
            groups_of=torch.zeros_like if isinstance(suppressor, ClassAgnosticNMS) else torch.clone,
        )
        if _merges_greedily(cfg)
        else partial(suppress_together, suppressor=suppressor, max_detections=limit)
    )
    return Slices(size=node.SIZE, overlap=node.OVERLAP, full_image=node.FULL_IMAGE, merge=merge)
