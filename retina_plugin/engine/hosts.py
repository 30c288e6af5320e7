"""Which host is there, and why not."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import warnings

from retina_plugin.config.errors import ConfigError

HOSTS = ("auto", "detectron2", "lightning")


@functools.cache
def detectron2_problem() -> str | None:
    """None when Detectron2 can be used, else why not: "is not installed", or the error that
    importing it gives."""
    if "detectron2" in sys.modules:
        return None if sys.modules["detectron2"] is not None else "is not installed"
    if importlib.util.find_spec("detectron2") is None:
        return "is not installed"
    try:
        with warnings.catch_warnings():
            # Old torch.jit calls of fvcore would be told at the start of every tool; nobody who
            # runs one can mend them.
            warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
            importlib.import_module("detectron2.modeling")
    # a build for another torch fails with anything from ImportError to RuntimeError
    except Exception as error:
        return (
            f"is installed but does not import ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''})"
        )
    return None


def register_in_detectron2() -> None:
    """Register everything in Detectron2's registries; a warning, not an error, when Detectron2 is
    there and broken."""
    problem = detectron2_problem()
    if problem is None:
        importlib.import_module("retina_plugin.d2")
    elif problem != "is not installed":
        warnings.warn(
            f"detectron2 {problem}; retina_plugin is not registered in it",
            RuntimeWarning,
            stacklevel=3,
        )


def choose_host(wanted: str) -> tuple[str, str]:
    """The host to run on and a phrase that says why.

    Args:
        wanted: "auto", "detectron2" or "lightning".

    Raises:
        ConfigError: there is no such host.
        ImportError: Detectron2 is asked for and cannot be used.
    """
    if wanted not in HOSTS:
        raise ConfigError(
            f"host: expected {', '.join(HOSTS[:-1])} or {HOSTS[-1]}, found {wanted!r}"
        )
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
