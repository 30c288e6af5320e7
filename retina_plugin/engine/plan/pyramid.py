"""Choose the levels of the pyramid and their anchors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.anchors import SLACK, AnchorShapes, choose_anchors, score
from retina_plugin.engine.plan.given import GIVEN, Given, given_entry
from retina_plugin.engine.plan.input_size import InputSize, largest_size
from retina_plugin.engine.plan.losses import positive_threshold
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.profile import DataProfile

CELLS = 1.75  # smallest width of a small object, in cells of the finest level
COARSEST = 6.0  # largest width of a large object, in cells of the coarsest level
STRIDES = tuple(2**k for k in range(2, 8))  # of P2 to P7
LEVELS = "MODEL.RETINANET.IN_FEATURES"
SIZES, RATIOS = (f"MODEL.ANCHOR_GENERATOR.{name}" for name in ("SIZES", "ASPECT_RATIOS"))


@dataclass(frozen=True)
class PyramidChoice:
    """Levels and anchors.

    Attributes:
        anchors: the anchors, with the strides of the levels, finest first.
        reason: why these levels.
    """

    anchors: AnchorShapes
    reason: str


def choose_pyramid(profile: DataProfile, size: InputSize, given: Given) -> PyramidChoice:
    """Choose levels and anchors for the sizes and shapes of the boxes in training.

    Args:
        profile: profile of the training set.
        size: the size of the images.
        given: the values on the command line; given levels, sizes and aspect ratios are used.

    Raises:
        ValueError: the given levels and anchors do not go together, or are unknown.
    """
    strides = given_strides(profile, size, given)
    if strides:
        levels = LEVELS if LEVELS in given else SIZES
        why = GIVEN if levels == LEVELS else f"as many levels as {SIZES} has lists"
        return PyramidChoice(_anchors(profile, size, strides, given), why)
    strides = choose_strides(profile, size)
    anchors = _anchors(profile, size, strides, given)
    if len(strides) > 2 and not {SIZES, RATIOS} & set(given):
        finer = _anchors(profile, size, strides[:-1], given)
        boxes, threshold = profile.boxes_at(size.object_side), positive_threshold(given)
        scores = [score(boxes, profile.labels, a, threshold=threshold) for a in (anchors, finer)]
        if scores[1] > scores[0] + SLACK:
            return PyramidChoice(finer, _widths(profile, size, finer.strides, left_out=True))
    return PyramidChoice(anchors, _widths(profile, size, strides))


def choose_strides(profile: DataProfile, size: InputSize) -> tuple[int, ...]:
    """Choose the levels, finest first: P2 (stride 4) to P7 (128), at least two.

    A small object is at least :data:`CELLS` cells wide on the finest level, and a large object at
    most :data:`COARSEST` cells wide on the coarsest, as far as these levels allow.
    """
    smallest, _ = profile.smallest_size_at(size.object_side, percentile=10)
    largest = largest_size(profile, size.object_side)
    finest = next((s for s in (16, 8) if s <= smallest / CELLS), 4)
    coarsest = next((s for s in (16, 32, 64) if s >= largest / COARSEST), 128)
    coarsest = max(coarsest, 2 * finest)
    return tuple(s for s in STRIDES if finest <= s <= coarsest)


def _widths(
    profile: DataProfile, size: InputSize, strides: Sequence[int], *, left_out: bool = False
) -> str:
    smallest, _ = profile.smallest_size_at(size.object_side, percentile=10)
    largest = largest_size(profile, size.object_side)
    reason = (
        f"in training, small objects are about {smallest / strides[0]:.1f} cells of "
        f"{_name(strides[0])} wide, large ones {largest / strides[-1]:.1f} of {_name(strides[-1])}"
    )
    if left_out:
        coarser = _name(2 * strides[-1])
        reason += f"; {coarser} is left out: its cells are so wide that fewer boxes are reached"
    return reason


def given_strides(profile: DataProfile, size: InputSize, given: Given) -> tuple[int, ...]:
    """Return the strides of levels that the user gives by name, or by the number of lists of anchor
    sizes; () if neither is given.

    Raises:
        ValueError: the plan does not know the stride of a level.
    """
    if LEVELS in given:
        found = [re.fullmatch("p([2-7])", name) for name in given[LEVELS]]
        if not all(found):
            raise ValueError(
                f"{LEVELS}: a plan needs levels from p2 to p7, found {list(given[LEVELS])}"
            )
        return tuple(2 ** int(name[1]) for name in found if name)
    rows = given.get(SIZES, ())
    if len(rows) < 2 or not isinstance(rows[0], Sequence):
        return ()
    finest = STRIDES.index(choose_strides(profile, size)[0])
    first = min(finest, len(STRIDES) - len(rows))
    if first < 0:
        raise ValueError(f"{SIZES}: expected at most {len(STRIDES)} lists, found {len(rows)}")
    return STRIDES[first : first + len(rows)]


def _anchors(
    profile: DataProfile, size: InputSize, strides: tuple[int, ...], given: Given
) -> AnchorShapes:
    return choose_anchors(
        profile.boxes_at(size.object_side),
        profile.labels,
        strides=strides,
        sizes=_per_level(given, SIZES, len(strides)),
        ratios=_per_level(given, RATIOS, len(strides)),
        threshold=positive_threshold(given),
    )


def _per_level(given: Given, key: str, levels: int) -> tuple[tuple[float, ...], ...]:
    """Return a given list of numbers for each level; () if it is not given."""
    rows: Any = given.get(key, ())
    if not rows:
        return ()
    rows = rows if isinstance(rows[0], Sequence) else [rows]
    if len(rows) not in (1, levels):
        raise ValueError(
            f"{key}: expected one list, or one for each of {levels} levels, found {len(rows)}"
        )
    return tuple(tuple(map(float, row)) for row in (rows * levels if len(rows) == 1 else rows))


def pyramid_entries(choice: PyramidChoice, *, given: Given, reached: str) -> list[Entry]:
    """Set levels and anchors.

    Args:
        choice: levels and anchors.
        given: the values on the command line.
        reached: how well the anchors reach the boxes; see
            :attr:`retina_plugin.engine.plan.reached_boxes.ReachedBoxes.summary`.
    """
    anchors, strides = choice.anchors, choice.anchors.strides
    finest = 2 if strides[0] == 4 else 3
    stages = list(given.get("MODEL.FPN.IN_FEATURES", [f"res{k}" for k in range(finest, 6)]))
    built = int(math.log2(strides[-1])) - finest + 1
    count = f"{anchors.per_cell} anchor{'s' * (anchors.per_cell > 1)} per cell; {reached}"
    shapes = "height / width, from the shapes of the boxes"
    return [
        Entry("MODEL.RESNETS.OUT_FEATURES", stages, "the stages that the pyramid needs"),
        Entry("MODEL.FPN.IN_FEATURES", stages, f"stages of the backbone, for p{finest} to p5"),
        Entry(
            f"{NODE}.NECK.LEVELS",
            max(built, 5),
            f"levels from p{finest} on; the head uses those of IN_FEATURES",
        ),
        Entry(LEVELS, [_name(stride) for stride in strides], choice.reason, printed=True),
        given_entry(SIZES, given[SIZES], count)
        if SIZES in given
        else Entry(SIZES, [list(row) for row in anchors.sizes], count, printed=True),
        given_entry(RATIOS, given[RATIOS])
        if RATIOS in given
        else Entry(RATIOS, [list(anchors.ratios[0])], shapes, printed=True),
    ]


def _name(stride: int) -> str:
    return f"p{int(math.log2(stride))}"


def default_anchors() -> AnchorShapes:
    """Return the anchors of Detectron2's RetinaNet: 3 sizes and 3 aspect ratios on P3 to P7."""
    strides = STRIDES[1:]
    sizes = tuple(tuple(4 * s * 2 ** (k / 3) for k in range(3)) for s in strides)
    return AnchorShapes(strides, sizes, ((0.5, 1.0, 2.0),) * len(strides))
