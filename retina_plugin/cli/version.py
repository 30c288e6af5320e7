"""Print which version of the package is used, and from which folder."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import retina_plugin


def version() -> str:
    """Return ``retina_plugin 0.1.0 from /path/retina_plugin, Python 3.11.7``.

    A warning follows if another version is installed, but this one is found first.
    """
    folder = os.path.dirname(os.path.abspath(retina_plugin.__file__))
    lines = [
        f"retina_plugin {retina_plugin.__version__} from {folder}, "
        f"Python {platform.python_version()}"
    ]
    installed = {d.version for d in importlib.metadata.distributions(name="retina_plugin")}
    for other in sorted(installed - {retina_plugin.__version__}):
        lines.append(
            f"warning: version {other} is installed, but Python finds {folder} first, through "
            "PYTHONPATH or the current folder"
        )
    return "\n".join(lines)
