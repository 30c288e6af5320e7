"""Import a library; if that fails, find the cure from the text of the error."""

from __future__ import annotations

import importlib
import re
import warnings
from importlib.metadata import PackageNotFoundError, version

from retina_plugin.engine.doctor.finding import BROKEN, Finding, describe_error

# Text of an error -> cure. {name} is the distribution that fails.
CURES = (
    (
        re.compile(r"operator torchvision::|load custom C\+\+ ops|torchvision::nms"),
        "torch and torchvision must be of the same release and build: pip install "
        "--force-reinstall torch torchvision, both from the same index",
    ),
    (
        re.compile(
            r"Numpy is not available|multiarray failed to import|_ARRAY_API not found|"
            r"compiled using NumPy 1|numpy\.dtype size changed"
        ),
        "{name} was built for another NumPy: pip install --upgrade --force-reinstall --no-deps "
        "{name}, or pip install 'numpy<2'",
    ),
    (
        re.compile(r"module 'numpy' has no attribute|PIL\.Image' has no attribute"),
        "this version of {name} is older than the installed NumPy or Pillow: install its newest "
        "version",
    ),
    (
        re.compile(r"lib(GL|gthread|xcb|SM|Xext)[-.\w]*\.so"),
        "desktop libraries are missing: pip uninstall -y opencv-python && pip install "
        "opencv-python-headless",
    ),
    (
        re.compile(r"No module named 'pkg_resources'"),
        "pip install 'setuptools<82'",
    ),
    (
        re.compile(r"undefined symbol|lib(c10|torch|cudart)\w*\.so"),
        "{name} was built for another version of torch: build or install it again",
    ),
    (
        re.compile(r"GLIBC(XX)?_"),
        "{name} was built for a newer system: install a version for this one, or use a newer "
        "system or container",
    ),
)


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def import_problem(module: str, distribution: str) -> Finding | None:
    """Import a module. Return None if this succeeds, else what fails and its cure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    # a library that was built for another version of torch or NumPy may raise anything
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            return Finding(BROKEN, "is not installed", f"pip install {distribution}")
        return Finding(
            BROKEN, f"does not import: {describe_error(error)}", cure_of(error, distribution)
        )
    return None


def cure_of(error: BaseException, distribution: str) -> str:
    """Return the cure of an error that a library raises.

    Args:
        error: the error; the errors that caused it are considered too.
        distribution: the name with which pip installs the library.
    """
    cause: BaseException | None = error
    while cause is not None:
        for pattern, cure in CURES:
            if pattern.search(str(cause)):
                return cure.format(name=distribution)
        cause = cause.__cause__ or cause.__context__
    return f"pip install --force-reinstall {distribution}"
