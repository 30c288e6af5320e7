"""Find out whether Detectron2 can be used, register in it when it is imported, and choose the host
of a run."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from retina_plugin.config.errors import ConfigError

HOSTS = ("auto", "detectron2", "lightning")


@functools.cache
def detectron2_problem() -> str | None:
    """None if Detectron2 can be used, else why not: "is not installed", or the error of importing
    it. It is imported, which takes seconds."""
    if sys.modules.get("detectron2", sys) is None:  # blocked
        return "is not installed"
    if "detectron2" not in sys.modules and importlib.util.find_spec("detectron2") is None:
        return "is not installed"
    try:
        _import_quietly("detectron2.modeling")
    # a build for another torch fails with anything from ImportError to RuntimeError
    except Exception as error:
        return (
            f"is installed but does not import ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''})"
        )
    return None


def _import_quietly(name: str) -> None:
    """Import without the warnings of old torch.jit calls in fvcore, which no user can mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        importlib.import_module(name)


def register_in_detectron2() -> None:
    """Register everything in Detectron2's registries, now if Detectron2 is imported already, else
    as soon as it is imported. It is not imported for that."""
    if sys.modules.get("detectron2") is not None:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    """Register, with a warning instead of an error if a part of Detectron2 does not import."""
    try:
        _import_quietly("retina_plugin.d2")
    except Exception as error:
        warnings.warn(
            f"detectron2 does not import ({type(error).__name__}: {error}); retina_plugin is not "
            "registered in it",
            RuntimeWarning,
            stacklevel=3,
        )


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls :func:`_register` right after ``detectron2`` itself is imported, before any of its
    submodules. All other modules are found as before."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "detectron2":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            # The loader keeps its type: tools that look up files of a package depend on it.
            spec.loader.exec_module = functools.partial(self._execute, spec.loader)
        return spec

    def _execute(self, loader: Any, module: ModuleType) -> None:
        del loader.exec_module
        loader.exec_module(module)
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        _register()


def choose_host(wanted: str) -> tuple[str, str]:
    """The host to run on and a phrase that says why.

    Args:
        wanted: "auto", "detectron2" or "lightning"; with the last, Detectron2 is not imported.

    Raises:
        ConfigError: there is no such host.
        ImportError: Detectron2 is asked for and cannot be used.
    """
    if wanted not in HOSTS:
        raise ConfigError(
            f"host: expected {', '.join(HOSTS[:-1])} or {HOSTS[-1]}, found {wanted!r}"
        )
    if wanted == "lightning":
        return wanted, "asked for with --host"
    problem = detectron2_problem()
    if wanted == "detectron2" and problem is not None:
        raise ImportError(
            f"--host detectron2: detectron2 {problem}. Install it from source, or "
            "use --host lightning."
        )
    if wanted != "auto":
        return wanted, "asked for with --host"
    return (
        ("detectron2", "it is installed")
        if problem is None
        else ("lightning", f"detectron2 {problem}")
    )
