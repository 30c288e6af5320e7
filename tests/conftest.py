from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.forms import FORMS, in_form

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """What an earlier test may have changed in this process: random numbers, and subnormal ones,
    which every run turns off."""
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Generated data sets and downloads of a test run stay out of the user's cache."""
    os.environ["RETINA_PLUGIN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def package_of_this_tree() -> None:
    """Processes that tests start find this very package, installed or not."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT


@pytest.fixture(params=FORMS)
def both_forms(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tables that hold for both implementations of assigners and losses."""
    with in_form(request.param):
        yield
