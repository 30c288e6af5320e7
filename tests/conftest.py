from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import _utils as loader_internals

from tests.forms import FORMS, in_form

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Give each test process its share of the cores.

    Threads of several processes on the same cores would wait for each other. Processes that tests
    start get the same number of threads from the environment.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if processes > 1:
        threads = max((os.cpu_count() or 1) // processes, 1)
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch waits so long, instead of 5 seconds, for the end of a loading process that had an error
    loader_internals.MP_STATUS_CHECK_INTERVAL = 1.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every ``long`` test as ``slow`` too.

    A ``-m`` on the command line replaces the default ``-m "not long"``, and ``-m "not slow"`` must
    leave out both.
    """
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Reset what an earlier test may have changed: the random seed and flush-to-zero, which every
    run enables."""
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep generated data sets out of the user's cache."""
    os.environ["RETINA_PLUGIN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def package_of_this_tree() -> None:
    """Make processes that tests start import the package of this tree."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT


@pytest.fixture(params=FORMS)
def both_forms(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test with both implementations of assigners and losses."""
    with in_form(request.param):
        yield


@pytest.fixture
def write_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Return a function that writes importable modules: ``write_modules(my_part="code")``.

    Names start with ``my_``. What the modules register is removed after the test.
    """
    from retina_plugin.config import imports
    from retina_plugin.config.registry import REGISTRIES

    importlib.import_module("retina_plugin.modeling")  # all registries but that of transforms
    monkeypatch.syspath_prepend(str(tmp_path))
    # A test may rewrite a file within a second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(imports, "_REGISTERED", {})
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))

    def write(**codes: str) -> None:
        for name, code in codes.items():
            (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
