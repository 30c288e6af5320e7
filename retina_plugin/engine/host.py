"""The interface that a host implements, and the command-line flags of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Records = Sequence[Mapping[str, Any]]
DIST_URL = "tcp://127.0.0.1:29517"


@dataclass(frozen=True)
class Request:
    """The flags of ``tools/train_net.py``; see its ``--help`` for their meanings.

    Attributes:
        started: when the command started, in seconds of ``time.monotonic()``.
    """

    resume: bool = False
    overwrite: bool = False
    eval_only: bool = False
    num_gpus: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = DIST_URL
    started: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True)
class Host:
    """The functions that each host implements in its own way.

    Attributes:
        name: "detectron2" or "lightning".
        get_cfg: returns the host's default config.
        dump: returns the text of ``config.yaml`` for a config.
        check: raises ConfigError for settings that the host does not support.
        class_names: returns the class names of a data set, given its name.
        records: returns the records of a data set, given its name.
        class_counts: returns the number of boxes of each class of a data set, given its name.
        check_data: raises DatasetError if the data sets of a run cannot be used.
        weights_file: returns the path of the file of ``MODEL.WEIGHTS`` on this machine, which is
            downloaded if it is an address; raises WeightsError.
        backbones: returns the names of the backbones of the host, besides this project's.
    """

    name: str
    get_cfg: Callable[[], Any]
    dump: Callable[[Any], str]
    check: Callable[[Any, Request], None]
    class_names: Callable[[str], Sequence[str]]
    records: Callable[[str], Records]
    class_counts: Callable[[str], Sequence[int]]
    check_data: Callable[[Any, Request], None]
    weights_file: Callable[[str], str]
    backbones: Callable[[], Sequence[str]] = list


class HostModule(Protocol):
    """The interface of the modules ``retina_plugin.d2.run`` and ``retina_plugin.lit.run``."""

    HOST: Host

    def run(self, cfg: Any, request: Request) -> dict[str, Any]:
        """Train or evaluate, in ``num_gpus`` processes on each of ``num_machines`` machines.

        Args:
            cfg: a config that started as ``HOST.get_cfg()``; files and overrides are merged.
            request: the command-line flags.

        Returns:
            The metrics of the last evaluation. Empty without ground truth, and if the run has
            several processes.
        """
        ...
