"""Choose the host of a run, check whether Detectron2 can be used, and register in it."""

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
    """Return why Detectron2 cannot be used, or None if it can.

    The text is "is not installed" or contains the import error. This imports Detectron2, which
    takes seconds.
    """
    if sys.modules.get("detectron2", sys) is None:  # None in sys.modules blocks the import
        return "is not installed"
    if "detectron2" not in sys.modules and importlib.util.find_spec("detectron2") is None:
        return "is not installed"
    try:
        _import_quietly("detectron2.modeling")
    # a Detectron2 built for another version of torch may raise any exception
    except Exception as error:
        return (
            f"is installed but does not import ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''})"
        )
    return None


def _import_quietly(name: str) -> None:
    """Import a module; suppress fvcore's warnings about ``torch.jit``, which users cannot fix."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        importlib.import_module(name)


def register_in_detectron2() -> None:
    """Register this package in Detectron2's registries.

    If Detectron2 is not imported yet, this package is registered when another module imports it.
    This function does not import Detectron2.
    """
    if sys.modules.get("detectron2") is not None:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    """Register this package; warn instead of raising if Detectron2 cannot be imported."""
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
    """Calls :func:`_register` after the import of the package ``detectron2``.

    Registration happens before its submodules are imported. Other modules are not affected.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "detectron2":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            # Replace the method, not the loader: tools that find package files check its type.
            run = functools.partial(self._execute, spec.loader)
            setattr(spec.loader, "exec_module", run)  # noqa: B010
        return spec

    def _execute(self, loader: Any, module: ModuleType) -> None:
        del loader.exec_module
        loader.exec_module(module)
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        _register()


def choose_host(wanted: str) -> tuple[str, str]:
    """Choose the host to run on.

    Args:
        wanted: "auto", "detectron2" or "lightning". For "lightning", Detectron2 is not imported.

    Returns:
        The name of the host, and the reason as a phrase.

    Raises:
        ConfigError: an unknown host.
        ImportError: Detectron2 is requested, but cannot be used.
    """
    if wanted not in HOSTS:
        raise ConfigError(
            f"host: expected {', '.join(HOSTS[:-1])} or {HOSTS[-1]}, found {wanted!r}"
        )
    if wanted == "lightning":
        return wanted, "chosen with --host"
    problem = detectron2_problem()
    if wanted == "detectron2" and problem is not None:
        raise ImportError(
            f"--host detectron2: detectron2 {problem}. Install it from source, or "
            "use --host lightning."
        )
    if wanted != "auto":
        return wanted, "chosen with --host"
    return (
        ("detectron2", "it is installed")
        if problem is None
        else ("lightning", f"detectron2 {problem}")
    )
