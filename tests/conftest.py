from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.forms import FORMS, in_form

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long test is slow too. A ``-m`` of the command line takes the place of the default
    ``-m "not long"``, and ``-m "not slow"`` must leave out both."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


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


@pytest.fixture
def write_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Writes modules called ``my_...`` that can be imported: ``write_modules(my_part="code")``.
    What they register is taken away afterwards."""
    from retina_plugin.config import imports
    from retina_plugin.config.registry import REGISTRIES

    importlib.import_module("retina_plugin.modeling")  # all registries but that of transforms
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file may change within a second
    monkeypatch.setattr(imports, "_BROUGHT", {})
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))

    def write(**codes: str) -> None:
        for name, code in codes.items():
            (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
