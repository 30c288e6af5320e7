"""Plan and train a detector for a user's own data: ``retina train --data DATA``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import MINUTES
from retina_plugin.data import Dataset, class_counts
from retina_plugin.data.box_coordinates import KEY as BOX_COORDINATES
from retina_plugin.engine.checks import prepare_data, resolve_alpha, resolve_prior
from retina_plugin.engine.disk_space import require_space_for_checkpoint
from retina_plugin.engine.folder_lock import require_unlocked
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.launch import host_of, launch
from retina_plugin.engine.output_folder import require_writable
from retina_plugin.engine.plan.choose_data import ChosenData, choose_data
from retina_plugin.engine.plan.machine import seconds_per_step, this_machine
from retina_plugin.engine.plan.make import make_plan
from retina_plugin.engine.plan.network import fixed_decision
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.profile import profile_of
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.trial import Trial, TrialSize, try_both
from retina_plugin.engine.planned_run import PlannedRun, require_free
from retina_plugin.engine.read_config import complete_config, merge
from retina_plugin.engine.run_folder import describe_run, rename_old_run, require_unused

PLAN = "plan.yaml"


@dataclass(frozen=True)
class OwnData:
    """The data and the time limit that the user gives.

    Attributes:
        data, val, group_by: see :func:`retina_plugin.engine.plan.choose_data.choose_data`.
        minutes: the time budget of the command; 0 for no limit.
    """

    data: str
    val: str = ""
    group_by: str = ""
    minutes: float = 0.0


def train_own_data(
    own: OwnData, overrides: Sequence[str], request: Request, *, host: str = "auto"
) -> None:
    """Plan a run, write the plan into ``OUTPUT_DIR``, and train.

    ``--resume`` uses the existing plan and its data; overrides can then change only the keys that
    may change in a resumed run. If a run ends before it has written anything to resume from, the
    files of the plan are removed again.

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
        print(f"--resume: {path} names the data, and --data and --val are not read", flush=True)
        changed = _overrides_of_resumed_run(own, overrides)
        launch(path, ["OUTPUT_DIR", folder, *changed], request, host=host)
        return
    _require_one_process(request)
    require_unlocked(folder)
    if not request.overwrite:
        require_unused(folder, the_host)
    planned = plan_run(own, path, overrides, the_host, overwrite=request.overwrite)
    if request.overwrite:  # after planning, so that an error in the data changes no file
        rename_old_run(folder, the_host, inputs=[own.data, own.val])
    planned.write()
    request = dataclasses.replace(request, overwrite=False)  # the old run is renamed already
    try:
        # the plan contains the overrides and the time budget
        launch(path, ["OUTPUT_DIR", folder], request, host=host)
    finally:
        if describe_run(folder, the_host) is None:
            planned.remove()


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


def _overrides_of_resumed_run(own: OwnData, overrides: Sequence[str]) -> list[str]:
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    given = [word for pair in pairs if pair[0] != "OUTPUT_DIR" for word in pair]
    return [*given, MINUTES, repr(own.minutes)] if own.minutes else given


def plan_run(
    own: OwnData, path: str, overrides: Sequence[str], host: Host, *, overwrite: bool = False
) -> PlannedRun:
    """Plan a run, and print the plan.

    Args:
        own: the data and the time limit.
        path: the file to which the plan will be written.
        overrides: ``[KEY, VALUE, ...]``; they replace values of the plan.
        host: the host, whose config checks the values.
        overwrite: whether the plan and its COCO files may replace existing files.

    Raises:
        ConfigError: an override cannot be used, the time is too short, the folder of the plan
            cannot be written to, or a file of the plan exists.
        DatasetError: the data cannot be used.
        DiskError: there is no room for one checkpoint.
    """
    given = _given_entries(overrides, host)
    require_free([path], [own.data, own.val], overwrite=overwrite)
    require_writable(os.path.dirname(path) or os.curdir, key="folder")
    prepare_data(merge(host.get_cfg(), None, overrides))
    chosen = choose_data(
        own.data, own.val, prefix=path.removesuffix(".yaml"), group_by=own.group_by
    )
    require_free([*chosen.files], [own.data, own.val], overwrite=overwrite)
    print("\n".join(chosen.lines), flush=True)
    if chosen.files:  # their boxes are converted already
        given = [entry for entry in given if entry.key != BOX_COORDINATES]
    plan = _plan(own, chosen, given, host, folder=os.path.dirname(path)).with_entries(given)
    print("\n".join([*plan.head, *plan.summary()]), flush=True)
    return PlannedRun(path, plan, chosen)


def _given_entries(overrides: Sequence[str], host: Host) -> list[Entry]:
    """Return the values from the command line, as the config parses them."""
    values = dict(leaves(merge(host.get_cfg(), None, overrides)))
    return [
        Entry(key, values.get(key, text), "given on the command line", printed=True)
        for key, text in zip(overrides[::2], overrides[1::2], strict=True)
        if key != "OUTPUT_DIR"
    ]


def _chosen_steps(own: OwnData, values: dict[str, Any]) -> int:
    steps: int = values.get("SOLVER.MAX_ITER", 0)
    if steps and own.minutes:
        raise ConfigError(
            f"--minutes {own.minutes:g} and SOLVER.MAX_ITER {steps}: give one of them"
        )
    return steps


def _complete(cfg: Any, dataset: Dataset) -> Any:
    """Complete a merged config, also with the values that depend on the training images."""
    cfg.MODEL.RETINANET.NUM_CLASSES = dataset.num_classes
    complete_config(cfg)
    counts = class_counts(dataset.records, dataset.num_classes)
    for resolve in (resolve_alpha, resolve_prior):
        resolve(cfg, dataset.class_names, lambda _: counts)
    return cfg


def _plan(own: OwnData, chosen: ChosenData, given: list[Entry], host: Host, *, folder: str) -> Plan:
    values = {entry.key: entry.value for entry in given}
    task = Task(
        chosen.names,
        profile_of(chosen.training),
        profile_of(chosen.validation),
        this_machine(values.get("MODEL.DEVICE", "cuda")),
        own.minutes,
        _chosen_steps(own, values),
        fixed_decision(values),
    )

    def config_of(plan: Plan) -> Any:
        cfg = merge(host.get_cfg(), None, plan.with_entries(given).overrides())
        if not task.machine.gpu:
            cfg.MODEL.DEVICE = "cpu"  # the run itself warns
        return _complete(cfg, chosen.training)

    def measure(plan: Plan, height: int, width: int) -> float:
        cfg = config_of(plan)
        require_space_for_checkpoint(cfg, folder)
        print("measuring the time of a training step", flush=True)
        return seconds_per_step(cfg, height=height, width=width)

    def run_trial(weights: Plan, scratch: Plan, size: TrialSize) -> Trial:
        networks = "a network with ImageNet weights and one from scratch"
        print(f"trial of {networks}: {size.seconds:.0f} s each", flush=True)
        return try_both(config_of(weights), config_of(scratch), chosen.training.records, size)

    try:
        return make_plan(task, measure, run_trial)
    except ValueError as error:
        raise ConfigError(str(error)) from error
