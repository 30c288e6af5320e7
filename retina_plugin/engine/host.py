"""What the code around a run must know of a host, and what the user asks for besides the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Records = Sequence[Mapping[str, Any]]
DIST_URL = "tcp://127.0.0.1:29517"


@dataclass(frozen=True)
class Request:
    """The flags of ``tools/train_net.py``; see its ``--help``."""

    resume: bool = False
    overwrite: bool = False
    eval_only: bool = False
    num_gpus: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = DIST_URL


@dataclass(frozen=True)
class Host:
    """How a host does what both hosts do.

    Attributes:
        name: of ``--host``.
        get_cfg: gives its default config.
        dump: a config as the text of ``config.yaml``.
        check: raises ConfigError for what this host cannot do.
        class_names: name of a data set -> names of its classes.
        records: name of a data set -> its records.
        class_counts: name of a data set -> boxes of each class.
        check_data: raises DatasetError if the data sets of a run cannot be used.
        backbones: names of backbones that the host has besides those of this project.
    """

    name: str
    get_cfg: Callable[[], Any]
    dump: Callable[[Any], str]
    check: Callable[[Any, Request], None]
    class_names: Callable[[str], Sequence[str]]
    records: Callable[[str], Records]
    class_counts: Callable[[str], Sequence[int]]
    check_data: Callable[[Any, Request], None]
    backbones: Callable[[], Sequence[str]] = list
