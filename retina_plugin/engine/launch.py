"""Start a run on one of the two hosts: from the command line, or from Python."""

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
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.hosts import choose_host
from retina_plugin.engine.read_config import merge

# Each has HOST, and run(cfg, request).
MODULES = {"detectron2": "retina_plugin.d2.run", "lightning": "retina_plugin.lit.run"}


def launch(
    config_file: str, overrides: Sequence[str], request: Request, *, host: str = "auto"
) -> None:
    """Train or evaluate as ``tools/train_net.py`` does.

    Args:
        config_file: a YAML file.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``.
        request: the flags.
        host: see :func:`retina_plugin.engine.hosts.choose_host`.

    Raises:
        ConfigError, DatasetError, WeightsError: what cannot be used is named.
        ImportError: the host is asked for and cannot be used.
    """
    check_processes(request)
    name, reason = choose_host(host)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # torchrun starts one of these for each process
        print(f"host: {name} ({reason})", flush=True)
    module = importlib.import_module(MODULES[name])
    module.run(merge(module.HOST.get_cfg(), config_file, overrides), request)


def train(
    cfg: Any, *, host: str = "auto", resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train the model that a config describes, in this process, and evaluate it.

    ``OUTPUT_DIR`` gets what ``tools/train_net.py`` writes. For several GPUs use that tool.

    Args:
        cfg: from :func:`retina_plugin.get_cfg`; it is not changed.
        host: "auto", "detectron2" or "lightning"; must be the one of which ``cfg`` is.
        resume, overwrite: as the flags of the tool.

    Returns:
        The metrics of the last evaluation, ``{"bbox": {"AP": 71.2, ..., "AP-cat": 70.1}}``, or that
        for each of several test sets; ``{}`` without a test set or ground truth.

    Raises:
        ConfigError, DatasetError, WeightsError: what cannot be used is named.
        ImportError: the host is asked for and cannot be used.
        KeyboardInterrupt: Ctrl-C; the last checkpoint has all steps that were done.
    """
    name, _ = choose_host(host)
    if resume and overwrite:
        raise ConfigError(
            "resume and overwrite: give one of them, as one continues what the other renames"
        )
    module = importlib.import_module(MODULES[name])
    _require_config(cfg)
    _require_keys(cfg, module.HOST)
    cfg = cfg.clone()
    cfg.defrost()
    # Python lets the main thread alone handle signals
    in_main = threading.current_thread() is threading.main_thread()
    with stopping.handle_signals() if in_main else contextlib.nullcontext():
        try:
            return module.run(cfg, Request(resume=resume, overwrite=overwrite))
        except stopping.Interrupted as error:
            print(error.message or "interrupted", flush=True)
            raise


def _require_config(cfg: Any) -> None:
    """
    Raises:
        ConfigError: it is something else, such as the path of a file.
    """
    if not (isinstance(cfg, Mapping) and hasattr(cfg, "clone")):
        read = (
            f": cfg = retina_plugin.get_cfg(); cfg.merge_from_file({os.fspath(cfg)!r})"
            if isinstance(cfg, (str, os.PathLike))
            else ""
        )
        raise ConfigError(
            f"cfg: expected a config from retina_plugin.get_cfg(), found {type(cfg).__name__} "
            f"{cfg!r:.80}{read}"
        )


def _require_keys(cfg: Any, host: Host) -> None:
    """
    Raises:
        ConfigError: the config is another host's, which has other keys.
    """
    package = {"detectron2": "retina_plugin.d2", "lightning": "retina_plugin.config"}[host.name]
    found, expected = dict(leaves(cfg)).keys(), dict(leaves(host.get_cfg())).keys()
    # parts from outside have keys of their own below MODEL.RETINA_PLUGIN
    surplus = {key for key in found - expected if not key.startswith(f"{NODE}.")}
    missing = expected - found
    different = missing or (host.name == "lightning" and surplus)
    if different:
        raise ConfigError(
            f"the config is not one of host {host.name!r}: it {'lacks' if missing else 'has'} key "
            f"{min(different)}. Begin with cfg = {package}.get_cfg()"
        )
