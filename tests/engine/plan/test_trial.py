"""The trial of both networks: equal time, other images, and no trace in the process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.data import load_dataset
from retina_plugin.engine.plan.trial import Outcome, Trial, TrialSize, hold_out, try_both
from retina_plugin.modeling.structures import ImageLosses
from tests.models import compact_cfg
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

# (sum of the losses, positives) of three images
ONE = [(4.0, 1), (6.0, 3), (5.0, 0)]


def outcome(*images: tuple[float, int]) -> Outcome:
    return Outcome(1, tuple(ImageLosses({"loss_cls": loss}, count) for loss, count in images))


def test_loss_and_noise_on_paper() -> None:
    other = outcome((3.0, 1), (3.0, 3), (3.0, 0))
    trial = Trial(outcome(*ONE), other, seconds=1.0)
    assert trial.weights.loss == 15 / 4
    # the differences are 1, 3, 2 with standard deviation 1; that of their sum is sqrt(3)
    assert trial.noise == pytest.approx(3**0.5 / 4)


def record(*crowds: int) -> dict[str, Any]:
    return {"annotations": [{"iscrowd": crowd} for crowd in crowds]}


def test_images_without_boxes_are_not_held_out() -> None:
    records = [record(), record(0), record(1), record(0, 1), record(0)]
    kept, held_out = hold_out(records, 2, seed=0)
    assert len(held_out) == 2
    assert all(any(not a["iscrowd"] for a in r["annotations"]) for r in held_out)
    assert sorted(map(id, kept + held_out)) == sorted(map(id, records))
    assert hold_out(records, 2, seed=0) == (kept, held_out)
    assert hold_out(records, 0, seed=0) == (records, [])


def tiny(**changes: Any) -> Any:
    sizes = {"INPUT__MIN_SIZE_TRAIN": (64,), "INPUT__MIN_SIZE_TEST": 64}
    return compact_cfg(**{**sizes, "SOLVER__IMS_PER_BATCH": 2, "SEED": 3, **changes})


def clock_of(*seconds: float) -> Iterator[float]:
    """Times of a clock for steps that take these seconds, without time between them."""
    now = 0.0
    yield now
    for step in seconds:
        yield now
        now += step
        yield now
    yield now


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        # weights 2, scratch 1, scratch 1, then both have 2: weights 2, scratch 1
        ([2, 1, 1, 2, 1], (2, 3)),
        ([1, 1, 1, 1, 1, 1], (3, 3)),
        ([9, 1, 1, 1], (1, 3)),
    ],
)
def test_both_train_for_the_same_time(
    tmp_path: Path, seconds: list[float], steps: tuple[int, int]
) -> None:
    records = load_dataset(write_scenes(tmp_path, count=6, seed=0)).records
    clock = clock_of(*seconds)
    trial = try_both(tiny(), tiny(), records, TrialSize(3.0, 3, 2), clock=clock.__next__)
    assert (trial.weights.steps, trial.scratch.steps) == steps
    assert trial.seconds == sum(seconds)
    assert len(trial.weights.losses) == 2
    assert next(clock, None) is None


def test_a_trial_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = load_dataset(write_scenes(tmp_path / "scenes", count=6, seed=0)).records
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    cfg, other = tiny(), tiny(SEED=4)
    before = str(cfg), torch.get_rng_state(), random.getstate()
    first, again = (
        try_both(cfg, other, records, TrialSize(4.0, 4, 2), clock=clock_of(*[1] * 8).__next__)
        for _ in range(2)
    )
    after = str(cfg), torch.get_rng_state(), random.getstate()
    assert first == again
    assert first.weights != first.scratch
    assert torch.equal(before[1], after[1])
    assert (before[0], before[2]) == (after[0], after[2])
    assert not list((tmp_path / "work").iterdir())
