"""Config keys of assigners, box coders and the weights of losses. :mod:`retina_plugin.config.keys`
adds them below ``MODEL.RETINA_PLUGIN``."""

from __future__ import annotations

from retina_plugin.config.key import Key
from retina_plugin.config.rules import above, at_most, between, one_of

ASSIGNMENT_KEYS: dict[str, Key] = {
    "ASSIGNER.NAME": Key(
        "MaxIoUAssigner",
        "name of the assigner in ASSIGNER_REGISTRY: MaxIoUAssigner (IOU_THRESHOLDS), ATSSAssigner "
        "or TaskAlignedAssigner (for quality_focal and varifocal)",
    ),
    "ASSIGNER.ATSSAssigner.TOPK": Key(
        9,
        "number of cells on each level, closest to a box's centre, whose anchors are candidates",
        between(1, 1000),
    ),
    "ASSIGNER.TaskAlignedAssigner.TOPK": Key(
        13, "number of candidate anchors of a box, over all levels", between(1, 1000)
    ),
    "ASSIGNER.TaskAlignedAssigner.ALPHA": Key(
        1.0, "exponent of the score in the alignment of anchor and box", between(0, 100)
    ),
    "ASSIGNER.TaskAlignedAssigner.BETA": Key(
        6.0, "exponent of the IoU in the alignment of anchor and box", above(0) & at_most(100)
    ),
    "BOX_CODER.NAME": Key(
        "DeltaCoder",
        "name of the box coder in BOX_CODERS: DeltaCoder, or DistributionCoder (as in GFL)",
    ),
    "BOX_CODER.DistributionCoder.BINS": Key(
        16,
        "largest distance, in strides, from the anchor's centre to each side of its box; each is "
        "predicted as a distribution over 0, 1, ..., BINS",
        between(1, 1000),
    ),
    "CRITERION.NAME": Key("DenseCriterion", "name of the criterion in CRITERIA"),
    "CRITERION.DenseCriterion.BOX_WEIGHTS": Key(
        "none",
        "weights of the positives in the box loss: none, centerness (as in ATSS), score (the "
        "highest score of the anchor, as in GFL) or target (the soft class target, as in "
        "VarifocalNet); they are divided by their mean",
        one_of("none", "centerness", "score", "target"),
    ),
    "CRITERION.DenseCriterion.BOX_LOSS_WEIGHT": Key(
        1.0, "factor of the box loss", between(0, 1000)
    ),
    "CRITERION.DenseCriterion.DFL_WEIGHT": Key(
        0.25, "factor of the distribution focal loss of a DistributionCoder", between(0, 1000)
    ),
}
