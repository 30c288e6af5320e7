"""Config keys of augmentation. :mod:`retina_plugin.config.keys` adds them below
``MODEL.RETINA_PLUGIN.INPUT``."""

from __future__ import annotations

from retina_plugin.config.key import Key
from retina_plugin.config.rules import Rule, above, at_most, between, list_of, one_of, whole

SHARE = between(0, 1)
UNTIL = Key(0.9, "share of the steps after which {} is switched off; 1: never", SHARE)


def _range(rule: Rule) -> Rule:
    return list_of(rule, counts=(2,), rising=True)


def _until(name: str) -> Key:
    return UNTIL._replace(meaning=UNTIL.meaning.format(name))


AUGMENTATION_KEYS: dict[str, Key] = {
    "AUGMENTATION": Key(
        "none",
        "policy that replaces the list TRANSFORMS: none (TRANSFORMS is used), light, medium or "
        "strong; see augmentation.md",
        one_of("none", "light", "medium", "strong"),
    ),
    "MAPPER": Key(
        "shared",
        "how training samples are made: shared (by the transforms of this table, equal on both "
        "hosts) or detectron2 (by Detectron2's DatasetMapper, on Detectron2 only)",
        one_of("shared", "detectron2"),
    ),
    "MIN_VISIBLE": Key(
        0.3,
        "share of a box that must stay visible when a transform cuts or covers it; otherwise the "
        "box is dropped. Three transforms have their own rule: RandomCrop keeps every box with "
        "area inside, RandomIoUCrop every box whose centre is inside, and RandomSlice every box "
        "with 0.7 of its area inside",
        SHARE,
    ),
    "RESIZER": Key(
        "pillow",
        "library that resizes training images: pillow (Detectron2's pixels) or torch (two to three "
        "times as fast; some values differ by 1 or 2 of 255)",
        one_of("pillow", "torch"),
    ),
    "CACHE_MEGABYTES": Key(
        500.0,
        "megabytes of decoded images that each loading process keeps for Mosaic and MixUp; 0: none",
        between(0, 10**7),
    ),
    "RandomCrop.WITH_OBJECT": Key(
        0.0,
        "share of the windows of INPUT.CROP that are placed around a random object; the others are "
        "placed anywhere",
        SHARE,
    ),
    "RandomIoUCrop.MIN_IOU": Key(
        [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
        "the window must have at least this IoU with a box. One of the values is drawn for each "
        "image; 1 keeps the whole image",
        list_of(SHARE, rising=True),
    ),
    "RandomIoUCrop.SCALE": Key(
        [0.3, 1.0],
        "smallest and largest side of the window, as a share of the side of the image",
        _range(above(0) & at_most(1)),
    ),
    "ScaleJitter.SCALE_RANGE": Key(
        [0.5, 2.0], "smallest and largest factor of the size of objects", _range(between(0.01, 100))
    ),
    "RandomZoomOut.PROBABILITY": Key(0.5, "probability that an image is shrunk", SHARE),
    "RandomZoomOut.SIDE_RANGE": Key(
        [1.0, 4.0],
        "smallest and largest side of the canvas, as multiples of the side of the shrunk image",
        _range(between(1, 100)),
    ),
    "Mosaic.PROBABILITY": Key(0.5, "probability that an image becomes part of a mosaic", SHARE),
    "Mosaic.SCALE": Key(
        [0.5, 1.0],
        "smallest and largest size of each image; 1 fits it into the whole mosaic",
        _range(between(0.1, 10)),
    ),
    "Mosaic.UNTIL": _until("Mosaic"),
    "MixUp.PROBABILITY": Key(0.15, "probability that an image is mixed with another one", SHARE),
    "MixUp.SCALE": Key(
        [0.5, 1.5],
        "smallest and largest size of the other image; 1 fits it into the image",
        _range(between(0.1, 10)),
    ),
    "MixUp.UNTIL": _until("MixUp"),
    "RandomPhotometricDistort.PROBABILITY": Key(
        0.5, "probability of each of the four changes", SHARE
    ),
    "RandomPhotometricDistort.BRIGHTNESS": Key(
        0.125, "largest deviation of the brightness factor from 1", SHARE
    ),
    "RandomPhotometricDistort.CONTRAST": Key(
        0.5, "largest deviation of the contrast factor from 1", SHARE
    ),
    "RandomPhotometricDistort.SATURATION": Key(
        0.5, "largest deviation of the saturation factor from 1", SHARE
    ),
    "RandomPhotometricDistort.HUE": Key(
        0.05, "largest change of the hue, as a fraction of the colour circle", between(0, 0.5)
    ),
    "GaussianBlur.PROBABILITY": Key(0.1, "probability that an image is blurred", SHARE),
    "GaussianBlur.SIGMA": Key(
        [0.1, 2.0],
        "smallest and largest standard deviation of the blur, in pixels of the image that this "
        "transform receives",
        _range(between(0.05, 50)),
    ),
    "JPEG.PROBABILITY": Key(0.1, "probability that an image is compressed", SHARE),
    "JPEG.QUALITY": Key(
        [30, 90], "lowest and highest JPEG quality", _range(whole(between(1, 100)))
    ),
    "RandomErasing.PROBABILITY": Key(0.25, "probability that a part of an image is erased", SHARE),
    "RandomErasing.SCALE": Key(
        [0.02, 0.2], "smallest and largest erased share of the image", _range(above(0) & at_most(1))
    ),
}
