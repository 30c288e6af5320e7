"""The order of training images: epochs, groups by aspect ratio, any first step, ranks."""

from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest

from retina_plugin.data.sampler import InfiniteBatchSampler, SampleKey, shape_groups

MANY = [number % 3 == 0 for number in range(50)]  # 17 wide images, 33 others
GROUPS = {
    "one": [None] * 50,
    "two": MANY,
    "one image of its own": [True, *[False] * 49],
    "three": [number % 3 for number in range(50)],
    "fewer images than a batch": [True, False, False],
}


def batches(
    count: int, *, groups: list = MANY, batch_size: int = 8, seed: int = 3, **start: int
) -> list[list[SampleKey]]:
    return list(
        islice(
            InfiniteBatchSampler(groups=groups, batch_size=batch_size, seed=seed, **start), count
        )
    )


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_every_epoch_is_another_permutation(groups: list) -> None:
    """Epochs do not end at batch boundaries: 50 images in batches of 8."""
    number = len(groups)
    places = dict(pair for batch in batches(150, groups=groups) for pair in batch)
    assert sorted(places) == list(range(1200))  # each once: no image is lost
    passes = [
        [places[place] for place in range(start, start + number)]
        for start in range(0, 1200, number)
    ]
    assert all(sorted(indices) == list(range(number)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) == (24 if number == 50 else 6)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_no_image_waits_longer_than_an_epoch(groups: list) -> None:
    for step, batch in enumerate(batches(200, groups=groups)):
        assert all(abs(place - 8 * step) < max(len(groups), 8) for place, _ in batch)


def test_one_group_keeps_the_order_of_the_permutations() -> None:
    """Earlier versions had no groups; their runs continue with the same order."""
    flat = [place for batch in batches(30, groups=GROUPS["one"]) for place, _ in batch]
    assert flat == list(range(240))


@pytest.mark.parametrize(("name", "most"), [("two", 1), ("one image of its own", 1), ("three", 2)])
def test_batches_are_of_one_group(name: str, most: int) -> None:
    """Except for the remainder at the end of a window of six batches."""
    groups = GROUPS[name]
    mixed = [
        len({groups[index] for _, index in batch}) > 1 for batch in batches(600, groups=groups)
    ]
    windows = Counter(step // 6 for step, is_mixed in enumerate(mixed) if is_mixed)
    assert windows
    assert max(windows.values()) <= most


def test_wide_and_tall_images_take_turns() -> None:
    wide = [MANY[batch[0][1]] for batch in batches(60)]
    assert sum(a != b for a, b in pairwise(wide)) > 5


def test_more_images_in_a_step_than_there_are() -> None:
    assert sorted(
        index for _, index in batches(1, groups=[True, False, False], batch_size=6)[0]
    ) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("step", [0, 1, 5, 6, 7, 30, 101])
def test_it_starts_at_any_step(groups: list, step: int) -> None:
    assert batches(9, groups=groups, first_step=step) == batches(step + 9, groups=groups)[step:]


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_every_batch(ranks: int) -> None:
    parts = [batches(9, rank=rank, world_size=ranks) for rank in range(ranks)]
    for whole, *shares in zip(batches(9), *parts, strict=True):
        assert {len(share) for share in shares} == {8 // ranks}
        assert sorted(pair for share in shares for pair in share) == sorted(whole)


def test_seeds() -> None:
    assert batches(3) == batches(3)
    assert batches(3) != batches(3, seed=4)


def test_groups_of_records() -> None:
    """Square images are grouped with tall ones, as in Detectron2; images of unknown size form their
    own group."""
    records: list[dict[str, Any]] = [
        {"width": w, "height": h} for w, h in ((20, 10), (10, 20), (10, 10))
    ]
    records.append({"file_name": "a.png"})
    assert shape_groups(records, grouped=True) == [True, False, False, None]
    assert len(set(shape_groups(records, grouped=False))) == 1
