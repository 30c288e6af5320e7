"""Print a merged config, with the file and line that set each value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from retina_plugin.cli.output import write
from retina_plugin.cli.parser import file_name
from retina_plugin.cli.run_flags import add_host

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Print a config as a run uses it: the file, its _BASE_ files and the overrides, merged
and checked. A comment after each value that is not the default says which file and line, or what
else, has set it. The output is YAML and can be used as a config file.

    retina config digits/retinanet_compact.yaml SOLVER.MAX_ITER 500"""


def add_arguments(parser: Parser) -> None:
    from retina_plugin.config.packaged import packaged_configs

    parser.add_argument("file", type=file_name, metavar="FILE", help="YAML file or packaged config")
    add_host(parser)
    parser.add_overrides()
    parser.epilog = f"Packaged configs: {', '.join(packaged_configs())}"


def run(args: argparse.Namespace) -> None:
    write(annotated_config(args.file, args.opts, host=args.host))


def annotated_config(config_file: str, overrides: list[str], *, host: str = "auto") -> str:
    """Return the merged and checked config as YAML, with the source of each value as a comment.

    Args:
        config_file, overrides: see :func:`retina_plugin.engine.read_config.merge`.
        host: the host whose defaults are used; see :func:`retina_plugin.engine.hosts.choose_host`.

    Raises:
        ConfigError: a file, key or value cannot be used.
        ImportError: the requested host cannot be used.
    """
    from retina_plugin.config import add_keys, leaves
    from retina_plugin.config.imports import part_keys_of
    from retina_plugin.config.node import value_sources
    from retina_plugin.engine.read_config import complete_config_with_reasons, merge

    get_cfg = get_cfg_of_host(host)
    cfg = merge(get_cfg(), config_file, overrides)
    reasons = value_sources(config_file, overrides) | complete_config_with_reasons(cfg)
    unchanged = get_cfg()
    add_keys(unchanged, part_keys_of(cfg))  # keys of imported plugins
    default = dict(leaves(unchanged))
    changed = {key: reasons[key] for key, value in leaves(cfg) if default[key] != value}
    return "\n".join([*_lines(cfg, changed, prefix=""), ""])


def get_cfg_of_host(host: str) -> Callable[[], Any]:
    """Return the function that makes the default config of a host."""
    import importlib

    from retina_plugin.engine.hosts import choose_host

    name, _ = choose_host(host)
    module = {"detectron2": "retina_plugin.d2", "lightning": "retina_plugin.config"}[name]
    get_cfg: Callable[[], Any] = importlib.import_module(module).get_cfg
    return get_cfg


def _lines(node: Mapping[str, Any], reasons: Mapping[str, str], *, prefix: str) -> list[str]:
    """Return YAML lines for all keys and groups of keys, sorted by name."""
    from retina_plugin.config.yaml_text import yaml_text

    lines = []
    indent = "  " * prefix.count(".")
    for name, value in sorted(node.items()):
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", *_lines(value, reasons, prefix=f"{key}.")]
        elif not isinstance(value, Mapping):
            reason = f"  # {reasons[key]}" if key in reasons else ""
            lines.append(f"{indent}{name}: {yaml_text(value)}{reason}")
    return lines
