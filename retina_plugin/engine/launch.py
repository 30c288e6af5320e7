"""Start a run on one of the two hosts, from the command line or from Python."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import NODE
from retina_plugin.engine import stopping
from retina_plugin.engine.checks import check_processes
from retina_plugin.engine.host import Host, HostModule, Request
from retina_plugin.engine.hosts import choose_host
from retina_plugin.engine.read_config import merge

MODULES = {"detectron2": "retina_plugin.d2.run", "lightning": "retina_plugin.lit.run"}


def launch(
    config_file: str, overrides: Sequence[str], request: Request, *, host: str = "auto"
) -> None:
    """Train or evaluate as ``tools/train_net.py`` does.

    Args:
        config_file: a YAML file, or the name of a packaged config.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``.
        request: the flags.
        host: see :func:`retina_plugin.engine.hosts.choose_host`.

    Raises:
        ConfigError, DatasetError, WeightsError: a setting, data set or checkpoint cannot be used.
        ImportError: the requested host cannot be used.
    """
    check_processes(request)
    name, reason = choose_host(host)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # torchrun starts several processes
        print(f"host: {name} ({reason})", flush=True)
    module = _import_host(name)
    module.run(merge(module.HOST.get_cfg(), config_file, overrides), request)


def train(
    cfg: Any, *, host: str = "auto", resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train and evaluate the model that a config describes, in this process.

    ``OUTPUT_DIR`` gets the same files as from ``tools/train_net.py``. Several GPUs need that tool.

    Args:
        cfg: a config from :func:`retina_plugin.get_cfg`; it is not changed.
        host: "auto", "detectron2" or "lightning"; must be the host that ``cfg`` is for.
        resume: continue the run in ``OUTPUT_DIR`` from its newest checkpoint.
        overwrite: rename the folder of an old run and start again.

    Returns:
        The metrics of the final evaluation in percent, such as ``metrics["bbox"]["AP"]`` and
        ``metrics["bbox"]["AP-cat"]``. With several test sets, a dict from the name of each set to
        such a dict. Empty without a test set or ground truth. Beside "bbox", "validation" has the
        losses if the final evaluation was made during training.

    Raises:
        ConfigError, DatasetError, WeightsError: a setting, data set or checkpoint cannot be used.
        ImportError: the requested host cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint of the last step was saved unless Ctrl-C
            was pressed twice.
    """
    name, _ = choose_host(host)
    if resume and overwrite:
        raise ConfigError(
            "resume and overwrite: give only one; resume continues the run that overwrite renames"
        )
    module = _import_host(name)
    _require_config(cfg)
    _require_keys(cfg, module.HOST)
    cfg = cfg.clone()
    cfg.defrost()
    # only the main thread may handle signals
    in_main = threading.current_thread() is threading.main_thread()
    with stopping.handle_signals() if in_main else contextlib.nullcontext():
        try:
            return module.run(cfg, Request(resume=resume, overwrite=overwrite))
        except stopping.Interrupted as error:
            print(error.message or "interrupted", flush=True)
            raise


def host_of(choice: str) -> Host:
    """Return the host that a value of ``--host`` chooses; see
    :func:`retina_plugin.engine.hosts.choose_host`."""
    return _import_host(choose_host(choice)[0]).HOST


def _import_host(name: str) -> HostModule:
    module: HostModule = importlib.import_module(MODULES[name])
    return module


def _require_config(cfg: Any) -> None:
    """Check that ``cfg`` is a config.

    Raises:
        ConfigError: it is something else, such as the path of a file.
    """
    if not (isinstance(cfg, Mapping) and hasattr(cfg, "clone")):
        hint = (
            f": cfg = retina_plugin.get_cfg(); cfg.merge_from_file({os.fspath(cfg)!r})"
            if isinstance(cfg, (str, os.PathLike))
            else ""
        )
        raise ConfigError(
            f"cfg: expected a config from retina_plugin.get_cfg(), found {type(cfg).__name__} "
            f"{cfg!r:.80}{hint}"
        )


def _require_keys(cfg: Any, host: Host) -> None:
    """Check that ``cfg`` has the keys of the host.

    Raises:
        ConfigError: the config is one of the other host.
    """
    package = {"detectron2": "retina_plugin.d2", "lightning": "retina_plugin.config"}[host.name]
    found, expected = dict(leaves(cfg)).keys(), dict(leaves(host.get_cfg())).keys()
    # plugins add their own keys below MODEL.RETINA_PLUGIN
    surplus = {key for key in found - expected if not key.startswith(f"{NODE}.")}
    missing = expected - found
    different = missing or (host.name == "lightning" and surplus)
    if different:
        raise ConfigError(
            f"the config is not one of host {host.name!r}: it {'lacks' if missing else 'has'} key "
            f"{min(different)}. Begin with cfg = {package}.get_cfg()"
        )
