"""Find configs that are installed with the package, by their names."""

from __future__ import annotations

import difflib
import functools
import os

from retina_plugin.config.errors import ConfigError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A wheel has the configs inside the package, a source tree has them in the folder above.
FOLDERS = (
    os.path.join(_PACKAGE, "configs"),
    os.path.join(os.path.dirname(_PACKAGE), "configs"),
)
BASE = "Base-RetinaNet.yaml"  # its presence shows that a folder contains the configs


@functools.cache
def packaged_configs() -> dict[str, str]:
    """Return {name, such as ``digits/retinanet_compact.yaml``: path} of all packaged configs."""
    folder = next((f for f in FOLDERS if os.path.isfile(os.path.join(f, BASE))), None)
    if folder is None:
        return {}
    paths = (os.path.join(top, file) for top, _, files in os.walk(folder) for file in files)
    names = {os.path.relpath(p, folder).replace(os.sep, "/"): p for p in paths}
    return {name: names[name] for name in sorted(names) if name.endswith(".yaml")}


def find_config(name: str, *, relative_to: str = "") -> str:
    """Return the path of a config file.

    Args:
        name: a path, or the name of a packaged config. An existing path takes precedence.
        relative_to: the folder that relative paths start from; "" for the current folder.

    Raises:
        ConfigError: neither a path nor a packaged config has this name. The message suggests
            similar packaged configs.
    """
    path = os.path.join(relative_to, os.path.expanduser(name))
    if os.path.lexists(path):
        return path
    known = packaged_configs()
    if name in known:
        return known[name]
    raise ConfigError(
        f"config file {path} cannot be read: neither a file nor a packaged config has this name."
        f"{_suggestion(name, list(known))}"
    )


def _suggestion(name: str, known: list[str]) -> str:
    """Suggest configs with a similar name, or else with a similar file name."""
    wanted = name.replace(os.sep, "/").removeprefix("configs/")
    similarity = {path: difflib.SequenceMatcher(None, path, wanted).ratio() for path in known}
    best = max(similarity.values(), default=0)
    near = [path for path in known if similarity[path] > max(0.85, best - 0.01)]
    if not near:
        files = [path.rpartition("/")[2] for path in known]
        alike = difflib.get_close_matches(wanted.rpartition("/")[2], files, n=1, cutoff=0.6)
        near = [path for path in known if path.rpartition("/")[2] in alike]
    if not near:
        return " retina config --help lists the packaged configs." if known else ""
    return f" Did you mean {' or '.join(near[:3])}?"
