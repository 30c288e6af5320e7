"""The rules: the severity and criterion of each, and how ``--fix`` repairs its findings."""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = {
    "breaks": "training ends with an error, or learns from wrong boxes",
    "harms": "training runs, but learns or measures worse",
    "note": "worth a look; the exit code stays 0",
}


@dataclass(frozen=True)
class Rule:
    """A rule of ``retina data check``.

    Attributes:
        severity: a key of :data:`SEVERITIES`.
        criterion: describes the data that violate the rule.
        repair: the repair by ``--fix``; "" for none.
    """

    severity: str
    criterion: str
    repair: str = ""


SMALL_BOX = 8.0  # pixels in the network's input
SAME_PLACE = 0.95  # IoU
RARE = 10  # boxes
OUTLIER = 3.0  # interquartile ranges
MOST_UNUSUAL = 0.1  # share of the images; a larger group is not unusual
DARK, BRIGHT = 64, 242  # grey levels
LEFT_OUT = "left out with its boxes"

RULES: dict[str, Rule] = {
    "invalid-annotation": Rule(
        "breaks",
        "a file, row or entry of the annotations that cannot be read: missing or invalid values, "
        "an unknown image or class, an id or class name that occurs twice",
        "the entry is left out",
    ),
    "missing-image": Rule(
        "breaks", "the image file does not exist, in any usual spelling", LEFT_OUT
    ),
    "unreadable-image": Rule(
        "breaks",
        "the file is not an image, is truncated, has more than 4 channels or 178,956,970 pixels, "
        "or cannot be decoded",
        LEFT_OUT,
    ),
    "different-classes": Rule(
        "breaks",
        "data sets or splits that are checked together list different classes, or the same ones in "
        "another order",
        "all get the classes of the first, then the others",
    ),
    "wrong-size": Rule(
        "breaks",
        "width or height in the annotations differ from the file (after EXIF rotation)",
        "the size is corrected if there are no boxes, or if some box fits only into the size of "
        "the file and none only into that of the annotations. In the opposite case, the boxes are "
        "scaled too, if both sizes have the same aspect ratio. Other images are left out",
    ),
    "exif-rotation": Rule(
        "breaks",
        "sizes or boxes are those before EXIF rotation: the size in the annotations is that of the "
        "stored image, or at least 3 boxes fit only into the stored image and at most a tenth as "
        "many only into the upright one",
        "the boxes are rotated",
    ),
    "wrong-coordinates": Rule(
        "breaks",
        "boxes are fractions, corners or centres where COCO has [x, y, width, height] in pixels; "
        "the criteria are those of BOX_COORDINATES in docs/your_own_data.md",
        "the boxes are converted, if they are not [y0, x0, y1, x1]",
    ),
    "suspicious-coordinates": Rule(
        "harms",
        "some boxes may be fractions, corners, percent or those of another image size; the "
        "evidence is too weak for wrong-coordinates",
    ),
    "outside-image": Rule(
        "harms",
        "a box reaches more than 1 pixel outside its image",
        "clipped, or left out if nothing remains",
    ),
    "no-area": Rule("harms", "width or height of a box is 0 or negative", "the box is left out"),
    "duplicate-box": Rule(
        "harms",
        "a box with the coordinates, class and crowd flag of another one in the image",
        "the first one is kept",
    ),
    "two-classes": Rule(
        "harms",
        f"two boxes of different classes with an IoU of at least {SAME_PLACE}; crowds do not count",
    ),
    "similar-class-names": Rule(
        "harms", "names of two classes that differ only by upper and lower case or spaces"
    ),
    "same-file": Rule(
        "harms",
        "one file is listed as two images: objects of one are background in the other",
        "the boxes of both are put together",
    ),
    "copied-image": Rule(
        "harms",
        "two files of a data set have equal bytes",
        "the first one is kept, if the boxes are equal",
    ),
    "leaked-image": Rule(
        "harms",
        "files of two data sets or splits have equal bytes: the second cannot measure what was "
        "learned from the first",
        "left out of the first data set",
    ),
    "leaked-near-copy": Rule(
        "harms",
        "images of two data sets or splits are near-copies, see below",
        "left out of the first data set",
    ),
    "small-box": Rule(
        "harms",
        f"the square root of the area is below {SMALL_BOX:g} pixels in the network's input; crowds "
        "do not count",
    ),
    "too-many-objects": Rule(
        "note",
        "more boxes in an image than TEST.DETECTIONS_PER_IMAGE allows detections (100, unless it "
        "is set; retina data plan sets it); crowds do not count",
    ),
    "unused-class": Rule("note", "a class without boxes; crowds do not count"),
    "rare-class": Rule("note", f"a class with fewer than {RARE} boxes; crowds do not count"),
    "near-copy": Rule("note", "images of one data set are near-copies, see below"),
    "unusual-size": Rule(
        "note",
        f"the square root of width x height is more than {OUTLIER:g} interquartile ranges "
        "outside the quartiles (a range counts as at least a tenth of the median), if that holds "
        f"for at most {MOST_UNUSUAL:.0%} of at least 10 images",
    ),
    "unusual-shape": Rule(
        "note",
        f"the logarithm of width / height is more than {OUTLIER:g} interquartile ranges "
        "outside the quartiles (a range counts as at least 0.1), if that holds for at most "
        f"{MOST_UNUSUAL:.0%} of at least 10 images",
    ),
    "mixed-pixels": Rule(
        "note",
        "images of one data set have different channels or bits than most, such as gray or 16-bit "
        "images among RGB images",
    ),
    "dark-image": Rule("note", f"99% of the pixels have a grey value below {DARK} of 255"),
    "bright-image": Rule("note", f"95% of the pixels have a grey value above {BRIGHT} of 255"),
    "blank-image": Rule("note", "the standard deviation of the grey values is below 2 of 255"),
    "unclear-rotation": Rule(
        "note",
        "an image with boxes is rotated by EXIF, and neither sizes nor boxes show whether boxes "
        "are measured before or after rotation; after rotation is assumed",
    ),
    "converted": Rule(
        "note", "what the reader skips or converts, such as file names in another spelling"
    ),
}
