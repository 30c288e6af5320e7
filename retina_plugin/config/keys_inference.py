"""Config keys of detection: suppressors, slices, and test-time augmentation.

:mod:`retina_plugin.config.keys` adds them below ``MODEL.RETINA_PLUGIN``.
"""

from __future__ import annotations

from retina_plugin.config.key import Key
from retina_plugin.config.rules import above, at_least, at_most, below, between, one_of

INFERENCE_KEYS: dict[str, Key] = {
    "SUPPRESSOR.SoftNMS.METHOD": Key(
        "gaussian",
        "how SoftNMS lowers the score of a box that overlaps one with a higher score: gaussian "
        "(for every overlap) or linear (for an IoU of at least MODEL.RETINANET.NMS_THRESH_TEST)",
        one_of("gaussian", "linear"),
    ),
    "SUPPRESSOR.SoftNMS.SIGMA": Key(
        0.5,
        "sigma of the method gaussian: scores are multiplied by exp(-IoU^2 / sigma)",
        above(0) & at_most(100),
    ),
    "SUPPRESSOR.SoftNMS.MIN_SCORE": Key(
        0.001, "SoftNMS drops boxes with a lower score", at_least(0) & below(1)
    ),
    "TEST.SLICE.SIZE": Key(
        0,
        "side of the overlapping slices into which larger images are cut for evaluation and "
        "detection, in pixels of the image; each slice is resized like an image. 0: no slices",
        one_of(0) | between(8, 100_000),
    ),
    "TEST.SLICE.OVERLAP": Key(
        0.2, "overlap of neighbouring slices, as a fraction of their side", between(0, 0.9)
    ),
    "TEST.SLICE.FULL_IMAGE": Key(
        True, "with slices, also detect in the whole image, for objects larger than a slice"
    ),
    "TEST.SLICE.MERGE": Key(
        "auto",
        "how detections of slices are merged: greedy (a box grows to enclose the boxes of its "
        "class that overlap it; see MERGE_THRESHOLD), suppressor (by SUPPRESSOR), or auto (greedy "
        "if MODEL.RETINANET.SCORE_THRESH_TEST is at least 0.1, else suppressor)",
        one_of("auto", "greedy", "suppressor"),
    ),
    "TEST.SLICE.MERGE_THRESHOLD": Key(
        0.5,
        "MERGE greedy merges boxes whose intersection is at least this fraction of the smaller box",
        above(0) & at_most(1),
    ),
    "INPUT.RandomSlice.WITH_OBJECT": Key(
        0.5,
        "share of the slices of the transform RandomSlice that are placed around a random object; "
        "the others are placed anywhere",
        between(0, 1),
    ),
    "INPUT.RandomSlice.FULL_IMAGE": Key(
        0.2, "share of the samples of RandomSlice that show the whole image", between(0, 1)
    ),
    "TEST.AUG.VERTICAL_FLIP": Key(
        False, "with TEST.AUG.ENABLED, also detect in the vertically mirrored image"
    ),
    "TEST.AUG.MERGE": Key(
        "suppressor",
        "how detections of the versions of TEST.AUG are merged: suppressor (by SUPPRESSOR) or wbf "
        "(weighted box fusion)",
        one_of("suppressor", "wbf"),
    ),
    "TEST.AUG.WBF_THRESHOLD": Key(
        0.55, "IoU above which wbf averages boxes", at_least(0) & below(1)
    ),
    "TEST.VIEWS_PER_BATCH": Key(
        8,
        "largest number of slices or versions of an image that the network processes together",
        between(1, 100_000),
    ),
}
