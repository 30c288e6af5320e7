"""Config keys of detection: suppressors. :mod:`retina_plugin.config.keys` adds them below
``MODEL.RETINA_PLUGIN``."""

from __future__ import annotations

from retina_plugin.config.key import Key
from retina_plugin.config.rules import above, at_least, at_most, below, one_of

INFERENCE_KEYS: dict[str, Key] = {
    "SUPPRESSOR.SoftNMS.METHOD": Key(
        "gaussian",
        "how SoftNMS lowers the scores of boxes that overlap a better one: gaussian (every overlap "
        "counts) or linear (only an IoU of at least MODEL.RETINANET.NMS_THRESH_TEST)",
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
}
