"""The rules of a plan: from the profile of the data and the machine to config values.

docs/planning.md explains each rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.anchors import AnchorShapes
from retina_plugin.engine.plan.input_size import OVERLAP, InputSize
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.profile import DataProfile

LARGEST_BATCH = 8
BASE_LR = 0.0015  # learning rate of AdamW for 8 images
# Memory of a training step for each pixel of the batch, measured on a CPU with 4 or 8 images of 384
# x 512 and 3 classes: 600 to 760 with levels from P3, 880 to 1040 from P2; with 80 classes and P2
# up to 1070.
BYTES_PER_PIXEL = 1100
# Of the ResNet-50, measured on a CPU, not on a GPU, as the difference of 2 and 4 images of 256 x
# 320: 2200 with levels from P3, 3800 from P2. About 550 MiB do not depend on the images.
BYTES_PER_PIXEL_GPU = 4500
MEMORY_SHARE = 0.5  # share of the free memory that a step may use
FULL_IMAGE_SHARE = 0.2  # share of the samples that show the whole image, if some must


@dataclass(frozen=True)
class Datasets:
    """Names of the training, validation and test sets for the config."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()


def dataset_entries(datasets: Datasets, profile: DataProfile) -> list[Entry]:
    """Name the data sets."""
    counts = profile.counts
    facts = f"{profile.num_images} images, {len(profile.labels)} boxes"
    if len(counts) > 1:
        facts += f" of {len(counts)} classes ({counts.min()} to {counts.max()} boxes)"
    return [
        Entry("DATASETS.TRAIN", list(datasets.train), facts),
        Entry("DATASETS.TEST", list(datasets.test)),
        Entry(
            f"{NODE}.DATASETS.VALIDATION",
            list(datasets.validation),
            "the best model is chosen on these images",
        ),
        Entry("DATALOADER.NUM_WORKERS", 1, "one process reads images while the other trains"),
    ]


def pyramid_entries(
    strides: Sequence[int], anchors: AnchorShapes, *, reached: tuple[float, float]
) -> list[Entry]:
    """Set levels and anchors.

    Args:
        strides: strides of the levels, finest first.
        anchors: anchors of these levels.
        reached: the mean recall over classes of Detectron2's anchors, and of ``anchors``.
    """
    finest = 2 if strides[0] == 4 else 3
    stages = [f"res{k}" for k in range(finest, 6)]
    numbers = [int(math.log2(stride)) for stride in strides]
    levels = [f"p{number}" for number in numbers]
    built = numbers[-1] - finest + 1
    return [
        Entry("MODEL.RESNETS.OUT_FEATURES", stages),
        Entry("MODEL.FPN.IN_FEATURES", stages),
        Entry(f"{NODE}.NECK.LEVELS", max(built, 5)),
        Entry(
            "MODEL.RETINANET.IN_FEATURES",
            levels,
            f"a small object is at least 1.75 cells of {levels[0]} wide, a large one at most 6 of "
            f"{levels[-1]}",
            printed=True,
        ),
        Entry(
            "MODEL.ANCHOR_GENERATOR.SIZES",
            [list(row) for row in anchors.sizes],
            f"{anchors.per_cell} anchors per cell; {reached[1]:.0%} of the boxes have an "
            "anchor with IoU 0.5 (mean over classes), with Detectron2's anchors "
            f"{reached[0]:.0%}",
            printed=True,
        ),
        Entry(
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
            [list(anchors.ratios)],
            "height / width, from the shapes of the boxes",
            printed=True,
        ),
    ]


def input_entries(size: InputSize, profile: DataProfile) -> list[Entry]:
    """Set the sizes of images, windows or slices, and flips."""
    low, high = size.train_range
    short_side, long_side = size.short_side, size.long_side
    if size.sliced:  # a slice, and the whole image
        short_side, long_side = high, math.ceil(high * profile.elongation)
    cut = size.window and not size.full_image
    entries = [
        Entry("INPUT.MIN_SIZE_TEST", short_side, size.reason, printed=True),
        Entry("INPUT.MAX_SIZE_TEST", long_side),
        Entry("INPUT.MIN_SIZE_TRAIN", [low, high], "random sizes, at most the size of evaluation"),
        Entry("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
        Entry("INPUT.MAX_SIZE_TRAIN", high if cut else long_side),
    ]
    if size.sliced:
        entries += _slice_entries(size)
    elif size.window:
        entries += [
            Entry(
                "INPUT.CROP.ENABLED",
                True,
                "training cuts windows out of large images, so that a step stays fast; evaluation "
                "takes whole images",
                printed=True,
            ),
            Entry("INPUT.CROP.TYPE", "absolute"),
            Entry("INPUT.CROP.SIZE", [size.window, size.window]),
        ]
    characters = all(len(name) == 1 for name in profile.class_names)
    flip, why = "horizontal", 'write "none" if a mirrored object is another class'
    if characters:
        flip, why = "none", "classes are single characters; a mirrored one is another class"
    return [*entries, Entry("INPUT.RANDOM_FLIP", flip, why, printed=True)]


def _slice_entries(size: InputSize) -> list[Entry]:
    """Cut slices in training and evaluation."""
    whole = "no object is larger than half a slice"
    if size.full_image:
        whole = "some objects are larger than half a slice"
    return [
        Entry(
            f"{NODE}.TEST.SLICE.SIZE",
            size.window,
            "side of the slices in pixels of the images, in training and evaluation",
            printed=True,
        ),
        Entry(f"{NODE}.TEST.SLICE.OVERLAP", OVERLAP),
        Entry(f"{NODE}.TEST.SLICE.FULL_IMAGE", size.full_image, whole),
        Entry(f"{NODE}.INPUT.RandomSlice.FULL_IMAGE", FULL_IMAGE_SHARE if size.full_image else 0.0),
        Entry(f"{NODE}.INPUT.TRANSFORMS", ["RandomSlice", "ResizeShortestEdge", "RandomFlip"]),
    ]


def batch_size(size: InputSize, profile: DataProfile, machine: Machine) -> Entry:
    """Choose the number of images of a step by memory and data."""
    per_pixel = BYTES_PER_PIXEL_GPU if machine.gpu else BYTES_PER_PIXEL
    affordable = machine.memory * MEMORY_SHARE / (per_pixel * size.train_pixels)
    batch = LARGEST_BATCH
    while batch > 1 and (batch > affordable or batch > profile.num_images):
        batch //= 2
    reason = "as many as usual for small data"
    if batch < LARGEST_BATCH:
        reason = (
            f"there are {profile.num_images} images"
            if batch * 2 > profile.num_images
            else f"{machine.memory / 2**30:.1f} GiB of memory are free"
        )
    return Entry("SOLVER.IMS_PER_BATCH", batch, reason, printed=batch < LARGEST_BATCH)


def solver_entries(batch: int) -> list[Entry]:
    """Set optimizer, learning rate and losses."""
    rate = float(f"{BASE_LR * (batch / LARGEST_BATCH) ** 0.5:.3g}")
    return [
        Entry(f"{NODE}.OPTIMIZER", "AdamW", "needs less tuning of the rate than SGD"),
        Entry(
            "SOLVER.BASE_LR",
            rate,
            f"{BASE_LR} for 8 images, scaled with the square root of the batch size",
        ),
        Entry("SOLVER.WEIGHT_DECAY", 0.05),
        Entry("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"),
        Entry("SOLVER.CLIP_GRADIENTS.ENABLED", True),
        Entry("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"),
        Entry("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0),
        Entry("MODEL.RETINANET.BBOX_REG_LOSS_TYPE", "giou", "measures overlap, as AP does"),
        Entry("SEED", 1),
    ]


def detection_entries(profile: DataProfile) -> list[Entry]:
    """Allow as many detections as an image has objects."""
    most = int(np.bincount(profile.box_images).max())
    if most <= 80:
        return []
    limit = math.ceil(most * 1.25 / 100) * 100
    return [
        Entry(
            "TEST.DETECTIONS_PER_IMAGE",
            limit,
            f"an image has up to {most} objects",
            printed=True,
        ),
        Entry("MODEL.RETINANET.TOPK_CANDIDATES_TEST", max(1000, 5 * limit)),
    ]
