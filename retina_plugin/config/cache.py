"""The folder for generated data sets and downloaded weights."""

from __future__ import annotations

import os

VARIABLE = "RETINA_PLUGIN_CACHE"


def cache_folder() -> str:
    """Return the environment variable ``RETINA_PLUGIN_CACHE``, or ``~/.cache/retina_plugin``. The
    folder need not exist."""
    return os.path.expanduser(os.environ.get(VARIABLE) or "~/.cache/retina_plugin")
