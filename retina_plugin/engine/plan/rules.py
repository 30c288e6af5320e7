"""The rules of a plan: from the profile of the data and the machine to config values.

docs/planning.md explains each rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.given import GIVEN, Given, chosen_or_given, given_entry
from retina_plugin.engine.plan.input_size import OVERLAP, InputSize
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.profile import DataProfile

ADAMW_RATE = 0.002, 4  # learning rate and images, from training small networks on a CPU
ADAMW_RATE_GPU = 0.0015, 8  # for a ResNet-50 and a pyramid of 256 channels; not measured
SGD_RATE = 0.01, 16  # of Detectron2
TEST_SIZE = "INPUT.MIN_SIZE_TEST"
DETECTIONS = "TEST.DETECTIONS_PER_IMAGE"
WITH_OBJECT = 0.5  # share of the windows that are placed around an object, as for slices
FULL_IMAGE_SHARE = 0.2  # share of the samples that show the whole image, if some must


@dataclass(frozen=True)
class Datasets:
    """Names of the training, validation and test sets for the config.

    Attributes:
        split: how the validation images were split off; "" if they were not.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()
    split: str = ""


def dataset_entries(datasets: Datasets, profile: DataProfile) -> list[Entry]:
    """Name the data sets."""
    counts = profile.counts
    several = "," in profile.pixels
    images = f"{profile.num_images} {'images' if several else profile.pixels or 'images'}"
    facts = f"{images}{f' ({profile.pixels})' if several else ''}, {len(profile.labels)} boxes"
    if len(counts) > 1:
        facts += f" of {len(counts)} classes ({counts.min()} to {counts.max()} boxes)"
    return [
        Entry("DATASETS.TRAIN", list(datasets.train), facts),
        Entry("DATASETS.TEST", list(datasets.test), "no images besides the validation images"),
        Entry(
            f"{NODE}.DATASETS.VALIDATION",
            list(datasets.validation),
            f"{datasets.split}{'; ' if datasets.split else ''}the best model is chosen on these "
            "images",
        ),
        Entry("DATALOADER.NUM_WORKERS", 1, "one process reads images while the other trains"),
    ]


def input_entries(size: InputSize, profile: DataProfile, given: Given) -> list[Entry]:
    """Set the sizes of images, windows or slices, and flips.

    Args:
        size: the size of the images.
        profile: profile of the training set.
        given: the values on the command line.
    """
    low, high = size.train_range
    # two given sizes are the ends of a range; other numbers of sizes are a list to choose from
    sampling = "range" if len(given.get("INPUT.MIN_SIZE_TRAIN", (low, high))) == 2 else "choice"
    ways = {"range": "any size from the first to the second", "choice": "one of these sizes"}
    short_side, long_side = size.short_side, size.long_side
    if size.sliced:  # a slice, and the whole image
        short_side, long_side = size.view_side, math.ceil(size.view_side * profile.elongation)
    cut = size.window and not size.full_image
    longest = max(long_side, math.ceil(high * profile.elongation))
    entries = [
        given_entry(TEST_SIZE, given[TEST_SIZE], size.reason.removeprefix(f"{GIVEN}: "))
        if TEST_SIZE in given
        else Entry(TEST_SIZE, short_side, size.reason, printed=True),
        Entry("INPUT.MAX_SIZE_TEST", long_side, "limit of the longer side"),
        Entry("INPUT.MIN_SIZE_TRAIN", [low, high], "random sizes, at most the size of evaluation"),
        Entry("INPUT.MIN_SIZE_TRAIN_SAMPLING", sampling, ways[sampling]),
        Entry("INPUT.MAX_SIZE_TRAIN", high if cut else longest, "limit of the longer side"),
    ]
    has_policy = given.get(f"{NODE}.INPUT.AUGMENTATION", "none") != "none"
    if size.sliced:
        entries += _slice_entries(size)
    if size.sliced and not has_policy:
        entries += _random_slice_entries(size)
    elif size.window:
        entries += _window_entries(size)
    characters = all(len(name) == 1 for name in profile.class_names)
    flip, why = "horizontal", 'write "none" if a mirrored object is another class'
    if characters:
        flip, why = "none", "classes are single characters; a mirrored one is another class"
    return [*entries, Entry("INPUT.RANDOM_FLIP", flip, why, printed=True)]


def _window_entries(size: InputSize) -> list[Entry]:
    """Cut windows in training."""
    why = "so that a step stays fast; evaluation takes whole images"
    if size.sliced:
        why = "of the size of the slices, because AUGMENTATION replaces RandomSlice"
    return [
        Entry("INPUT.CROP.ENABLED", True, f"training cuts windows out of images, {why}", True),
        Entry("INPUT.CROP.TYPE", "absolute", "SIZE is in pixels of the image"),
        Entry("INPUT.CROP.SIZE", [size.window, size.window]),
        Entry(
            f"{NODE}.INPUT.RandomCrop.WITH_OBJECT",
            WITH_OBJECT,
            "share of the windows that are placed around an object; others can be empty",
        ),
    ]


def _slice_entries(size: InputSize) -> list[Entry]:
    """Cut slices in evaluation."""
    whole = "no object is larger than half a slice"
    if size.full_image:
        whole = "some objects are larger than half a slice"
    return [
        Entry(
            f"{NODE}.TEST.SLICE.SIZE",
            size.window,
            "side of the slices in pixels of the images",
            printed=True,
        ),
        Entry(f"{NODE}.TEST.SLICE.OVERLAP", OVERLAP, "objects at a border are whole in a slice"),
        Entry(f"{NODE}.TEST.SLICE.FULL_IMAGE", size.full_image, whole),
    ]


def _random_slice_entries(size: InputSize) -> list[Entry]:
    """Cut slices in training."""
    return [
        Entry(
            f"{NODE}.INPUT.RandomSlice.FULL_IMAGE",
            FULL_IMAGE_SHARE if size.full_image else 0.0,
            "share of the training samples that show the whole image",
        ),
        Entry(
            f"{NODE}.INPUT.TRANSFORMS",
            ["RandomSlice", "ResizeShortestEdge", "RandomFlip"],
            "RandomSlice replaces RandomCrop",
        ),
    ]


def solver_entries(batch: int, machine: Machine, given: Given) -> list[Entry]:
    """Set optimizer and learning rate.

    Args:
        batch: images of a step.
        machine: the machine that trains; with a GPU the network is larger.
        given: the values on the command line.
    """
    optimizer = [Entry(f"{NODE}.OPTIMIZER", "AdamW", "needs less tuning of the rate than SGD")]
    usual, images = ADAMW_RATE_GPU if machine.gpu else ADAMW_RATE
    power, scaled, decay = 0.5, "with the square root of the batch size", 0.05
    if given.get(f"{NODE}.OPTIMIZER") == "SGD":
        usual, images = SGD_RATE
        power, scaled, decay = 1.0, "with the batch size", 0.0001
    rate = float(f"{usual * (batch / images) ** power:.3g}")
    reason = f"{usual} for {images} images, scaled {scaled}"
    return [
        *chosen_or_given(optimizer, given),
        Entry("SOLVER.BASE_LR", rate, reason),
        Entry("SOLVER.WEIGHT_DECAY", decay, "usual for this optimizer"),
        Entry("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "the rate falls to 0 at the end"),
        Entry("SOLVER.CLIP_GRADIENTS.ENABLED", True, "single batches cannot make large steps"),
        Entry("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", "the norm of each parameter's gradient"),
        Entry("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0, "its limit"),
        Entry("SEED", 1, "of the initial weights, the order of images and augmentation"),
    ]


def detection_entries(profile: DataProfile, given: Given) -> list[Entry]:
    """Allow as many detections as an image has objects."""
    most = int(np.bincount(profile.box_images).max())
    if most <= 80 and DETECTIONS not in given:
        return []
    limit, why = math.ceil(most * 1.25 / 100) * 100, f"an image has up to {most} objects"
    limit = given.get(DETECTIONS, limit)
    return [
        given_entry(DETECTIONS, limit, why)
        if DETECTIONS in given
        else Entry(DETECTIONS, limit, why, printed=True),
        Entry(
            "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
            max(1000, 5 * limit),
            "candidates of each level, more than detections",
        ),
    ]
