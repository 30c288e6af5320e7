"""Verdicts of ``tools/compare_recipes.py``, by tables that can be checked on paper."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import numpy as np
import pytest

from tests.load_tools import load_tool


@pytest.fixture(scope="module")
def verdict() -> ModuleType:
    load_tool("compare_recipes")  # puts tools/ on the path
    return importlib.import_module("recipes.verdict")


def scores(verdict: ModuleType, ap: list[float], spread: float = 0.0) -> object:
    """Runs whose resamples lie evenly within ``spread`` of their AP."""
    offsets = np.linspace(-spread, spread, 201)
    return verdict.Scores(np.array(ap), np.array(ap)[:, None] + offsets)


def test_the_noise_of_two_rows_is_that_of_the_paired_t_test(verdict: ModuleType) -> None:
    """Differences 1, 2, 3: mean 2, deviation 1; t with 2 degrees of freedom is 4.303."""
    base, row = scores(verdict, [70.0, 75.0, 80.0]), scores(verdict, [71.0, 77.0, 83.0])
    noise = verdict.measured_noise([base, row])
    assert noise.deviation == pytest.approx(1 / math.sqrt(2))
    assert noise.quantile == pytest.approx(4.303, abs=1e-3)
    found = verdict.compare(row, base, noise)
    assert found.value == pytest.approx(2)
    assert found.high - found.value == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert found.low == pytest.approx(2 - 4.303 / math.sqrt(3), abs=1e-3)
    assert found.verdict == "not decided"


def test_more_rows_measure_the_noise_better(verdict: ModuleType) -> None:
    """Residuals of [[0, 2], [0, 0], [0, 1]]: row means 1, 0, 0.5, seed means 0, 1, mean 0.5, so
    [-0.5, 0.5], [0.5, -0.5], [0, 0]; their squares sum to 1, with 2 x 1 degrees of freedom."""
    rows = [scores(verdict, ap) for ap in ([0.0, 2.0], [0.0, 0.0], [0.0, 1.0])]
    noise = verdict.measured_noise(rows)
    assert noise.deviation == pytest.approx(math.sqrt(0.5))
    assert noise.quantile == pytest.approx(4.303, abs=1e-3)


def test_equal_shifts_of_rows_and_seeds_are_no_noise(verdict: ModuleType) -> None:
    base, row = scores(verdict, [70.0, 75.0]), scores(verdict, [71.0, 76.0])
    noise = verdict.measured_noise([base, row])
    assert noise.deviation == pytest.approx(0, abs=1e-9)
    assert verdict.compare(row, base, noise).verdict == "gain"
    assert verdict.compare(base, row, noise).verdict == "loss"


def test_one_seed_decides_nothing(verdict: ModuleType) -> None:
    base, row = scores(verdict, [50.0]), scores(verdict, [90.0])
    assert verdict.measured_noise([base, row]) is None
    found = verdict.compare(row, base, None)
    assert found == (40.0, 40.0, 40.0, "not decided")
    known = verdict.known_noise(1.0)
    found = verdict.compare(row, base, known)
    assert found.verdict == "gain"
    assert found.low == pytest.approx(40 - 1.96 * math.sqrt(2), abs=1e-3)


def test_images_and_seeds_are_joined(verdict: ModuleType) -> None:
    """Images: the draws lie within 3, 95% of them within 2.85. Seeds: 1.96 x 1 x sqrt 2."""
    base = scores(verdict, [50.0])
    row = scores(verdict, [54.0], spread=3.0)
    found = verdict.compare(row, base, verdict.known_noise(1.0))
    expected = math.hypot(2.85, 1.95996 * math.sqrt(2))
    assert found.low == pytest.approx(4 - expected, abs=1e-3)
    assert found.high == pytest.approx(4 + expected, abs=1e-3)
    assert found.verdict == "gain"


def test_the_images_are_paired(verdict: ModuleType) -> None:
    """Draws that move both rows alike say nothing about their difference."""
    base, row = scores(verdict, [50.0], spread=9.0), scores(verdict, [51.0], spread=9.0)
    found = verdict.compare(row, base, verdict.known_noise(0.1))
    assert found.verdict == "gain"
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 * math.sqrt(2), abs=1e-3)
    assert row.interval.half_width == pytest.approx(0.95 * 9)
