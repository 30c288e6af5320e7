"""Plan and train a detector for a user's own data: ``retina train --data DATA``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import MINUTES
from retina_plugin.engine.folder_lock import require_unlocked
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.launch import host_of, launch
from retina_plugin.engine.plan.origin import Origin, origin_of
from retina_plugin.engine.plan_run import OwnData, plan_run
from retina_plugin.engine.read_config import merge
from retina_plugin.engine.run_folder import describe_run, rename_old_run, require_unused

PLAN = "plan.yaml"


def train_own_data(
    own: OwnData, overrides: Sequence[str], request: Request, *, host: str = "auto"
) -> None:
    """Plan a run, write the plan into ``OUTPUT_DIR``, and train.

    ``--resume`` uses the existing plan and its data; overrides can then change only the keys that
    may change in a resumed run. If a run ends before it has written anything to resume from, the
    files of the plan are removed again, and the folder if it is new.

    Args:
        own: the data and the time limit.
        overrides: ``[KEY, VALUE, ...]``; they replace values of the plan.
        request: the flags.
        host: see :func:`retina_plugin.engine.hosts.choose_host`.

    Raises:
        ConfigError, DatasetError, DiskError, ImportError: the run cannot be planned; see
            :func:`plan_run` and :func:`retina_plugin.engine.launch.launch`.
    """
    the_host = host_of(host)
    folder = merge(the_host.get_cfg(), None, overrides).OUTPUT_DIR
    path = os.path.join(folder, PLAN)
    if request.resume:
        if not os.path.exists(path):
            raise ConfigError(f"--resume: {folder} has no {PLAN}, so there is no run to continue")
        _require_same_data(own, path, folder, the_host)
        changed = _overrides_of_resumed_run(own, overrides)
        launch(path, ["OUTPUT_DIR", folder, *changed], request, host=host)
        return
    _require_one_process(request)
    require_unlocked(folder)
    if not request.overwrite:
        require_unused(folder, the_host)
    keys = _without_folder(overrides)
    planned = plan_run(own, path, keys, the_host, overwrite=request.overwrite)
    if request.overwrite:  # after planning, so that an error in the data changes no file
        rename_old_run(folder, the_host, inputs=[own.data, own.val])
    is_new = not os.path.isdir(folder)
    planned.write()
    request = dataclasses.replace(request, overwrite=False)  # the old run is renamed already
    try:
        # the plan contains the overrides and the time budget
        launch(path, ["OUTPUT_DIR", folder], request, host=host)
    finally:
        if describe_run(folder, the_host) is None:
            planned.remove()
            if is_new and not os.listdir(folder):
                os.rmdir(folder)


def _require_one_process(request: Request) -> None:
    """Check that no other process plans and writes the same run.

    Raises:
        ConfigError: torchrun has started several processes, or there are several machines.
    """
    processes = os.environ.get("WORLD_SIZE", "1") if "LOCAL_RANK" in os.environ else "1"
    if request.num_machines > 1:
        found = f"--num-machines {request.num_machines}"
    elif processes != "1":
        found = f"{processes} processes, which a launcher such as torchrun has started"
    else:
        return
    raise ConfigError(
        f"--data: expected one process, which plans the run, found {found}. Plan it first, with "
        f"retina data plan DATA --output {PLAN}, and give --config-file {PLAN} to all processes."
    )


def _require_same_data(own: OwnData, path: str, folder: str, host: Host) -> None:
    """Check that a resumed run was planned for the data of the command line.

    Raises:
        ConfigError: it was planned for other data; see
            :meth:`retina_plugin.engine.plan.origin.Origin.require`.
    """
    cfg = merge(host.get_cfg(), path, [])
    validation = cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION
    if len(cfg.DATASETS.TRAIN) != 1 or len(validation) > 1:
        return  # the user has edited the plan
    planned = origin_of(cfg.DATASETS.TRAIN[0], *(validation or [""]))
    if planned is not None:
        given = Origin(own.data, own.val, own.group_by, own.split_seed)
        planned.require(given, folder=folder)


def _overrides_of_resumed_run(own: OwnData, overrides: Sequence[str]) -> list[str]:
    minutes = [MINUTES, repr(own.minutes)] if own.minutes else []
    return [*minutes, *_without_folder(overrides)]


def _without_folder(overrides: Sequence[str]) -> list[str]:
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return [word for pair in pairs if pair[0] != "OUTPUT_DIR" for word in pair]
