"""The configs that come with the package, found by their names from any folder."""

from __future__ import annotations

import difflib
import functools
import os

from retina_plugin.config.errors import ConfigError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# In a wheel they are inside the package, in a source tree beside it.
FOLDERS = (
    os.path.join(_PACKAGE, "configs"),
    os.path.join(os.path.dirname(_PACKAGE), "configs"),
)
BASE = "Base-RetinaNet.yaml"  # every folder of configs has it


@functools.cache
def packaged_configs() -> dict[str, str]:
    """Name, such as ``digits/retinanet_compact.yaml`` -> path. Empty if the package has none."""
    folder = next((f for f in FOLDERS if os.path.isfile(os.path.join(f, BASE))), None)
    if folder is None:
        return {}
    paths = (os.path.join(top, file) for top, _, files in os.walk(folder) for file in files)
    names = {os.path.relpath(p, folder).replace(os.sep, "/"): p for p in paths}
    return {name: names[name] for name in sorted(names) if name.endswith(".yaml")}


def find_config(name: str, *, beside: str = "") -> str:
    """The path of a config file.

    Args:
        name: a path, or the name of a packaged config. A path that exists is preferred.
        beside: the folder from which a relative path starts; empty for the present folder.

    Raises:
        ConfigError: it is neither; the message names the nearest packaged configs.
    """
    path = os.path.join(beside, os.path.expanduser(name))
    if os.path.lexists(path):
        return path
    known = packaged_configs()
    if name in known:
        return known[name]
    raise ConfigError(
        f"config file {path} cannot be read: neither a file nor a packaged config has this name."
        f"{_hint(name, list(known))}"
    )


def _hint(name: str, known: list[str]) -> str:
    """The nearest names, else the names with the nearest file."""
    wanted = name.replace(os.sep, "/").removeprefix("configs/")
    likeness = {path: difflib.SequenceMatcher(None, path, wanted).ratio() for path in known}
    best = max(likeness.values(), default=0)
    near = [path for path in known if likeness[path] > max(0.85, best - 0.01)]
    if not near:
        files = [path.rpartition("/")[2] for path in known]
        alike = difflib.get_close_matches(wanted.rpartition("/")[2], files, n=1, cutoff=0.6)
        near = [path for path in known if path.rpartition("/")[2] in alike]
    if not near:
        return " retina config --help lists the packaged configs." if known else ""
    return f" Did you mean {' or '.join(near[:3])}?"
