"""Plan a run for a user's own data: choose the images, measure the machine, and make the plan."""

from __future__ import annotations

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
from retina_plugin.engine.host import Host
from retina_plugin.engine.output_folder import require_writable
from retina_plugin.engine.plan.choose_data import ChosenData, choose_data
from retina_plugin.engine.plan.given import Given, with_given
from retina_plugin.engine.plan.machine import this_machine
from retina_plugin.engine.plan.make import make_plan
from retina_plugin.engine.plan.measured_step import require_memory, seconds_per_step
from retina_plugin.engine.plan.network import fixed_decision
from retina_plugin.engine.plan.plan import Plan
from retina_plugin.engine.plan.profile import profile_of
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.trial import Trial, TrialSize, try_both
from retina_plugin.engine.planned_run import PlannedRun, require_free
from retina_plugin.engine.read_config import complete_config, merge


@dataclass(frozen=True)
class OwnData:
    """The data and the time limit that the user gives.

    Attributes:
        data, val, group_by: see :func:`retina_plugin.engine.plan.choose_data.choose_data`.
        minutes: the time budget of the command; 0 for no limit.
        split_seed: "seed" of that function.
    """

    data: str
    val: str = ""
    group_by: str = ""
    minutes: float = 0.0
    split_seed: int | None = None


def plan_run(
    own: OwnData, path: str, overrides: Sequence[str], host: Host, *, overwrite: bool = False
) -> PlannedRun:
    """Plan a run, and print the plan.

    Args:
        own: the data and the time limit.
        path: the file to which the plan will be written.
        overrides: ``[KEY, VALUE, ...]``; the plan has these values, and takes them into account.
        host: the host, whose config checks the values.
        overwrite: whether the plan and its COCO files may replace existing files.

    Raises:
        ConfigError: an override cannot be used, the time is too short, the memory is too small, the
            folder of the plan cannot be written to, or a file of the plan exists.
        DatasetError: the data cannot be used.
        DiskError: there is no room for one checkpoint.
    """
    given = _given_values(overrides, host)
    require_free([path], [own.data, own.val], overwrite=overwrite)
    require_writable(os.path.dirname(path) or os.curdir, key="folder")
    prepare_data(merge(host.get_cfg(), None, overrides))
    chosen = choose_data(
        own.data,
        own.val,
        prefix=path.removesuffix(".yaml"),
        group_by=own.group_by,
        seed=own.split_seed,
    )
    require_free([*chosen.files], [own.data, own.val], overwrite=overwrite)
    print("\n".join(chosen.lines), flush=True)
    if chosen.files:  # their boxes are converted already
        given.pop(BOX_COORDINATES, None)
    plan = _plan(own, chosen, given, host, folder=os.path.dirname(path))
    print("\n".join([*plan.head, *plan.summary()]), flush=True)
    return PlannedRun(path, plan, chosen)


def _given_values(overrides: Sequence[str], host: Host) -> dict[str, Any]:
    """Return the values from the command line, as the config parses them."""
    values = dict(leaves(merge(host.get_cfg(), None, overrides)))
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return {key: values.get(key, text) for key, text in pairs}


def _limits(own: OwnData, given: Given) -> tuple[float, int]:
    """Return the minutes and the steps that the user gives; a key is used before its flag.

    Raises:
        ConfigError: both are given.
    """
    minutes: float = given.get(MINUTES, own.minutes)
    steps: int = given.get("SOLVER.MAX_ITER", 0)
    if steps and minutes:
        source = f"{MINUTES} {minutes:g}" if MINUTES in given else f"--minutes {minutes:g}"
        raise ConfigError(f"{source} and SOLVER.MAX_ITER {steps}: give one of them")
    return minutes, steps


def _complete(cfg: Any, dataset: Dataset) -> Any:
    """Complete a merged config, also with the values that depend on the training images."""
    cfg.MODEL.RETINANET.NUM_CLASSES = dataset.num_classes
    complete_config(cfg)
    counts = class_counts(dataset.records, dataset.num_classes)
    for resolve in (resolve_alpha, resolve_prior):
        resolve(cfg, dataset.class_names, lambda _: counts)
    return cfg


def _plan(own: OwnData, chosen: ChosenData, given: Given, host: Host, *, folder: str) -> Plan:
    task = Task(
        chosen.names,
        profile_of(chosen.training),
        profile_of(chosen.validation),
        this_machine(given.get("MODEL.DEVICE", "cuda")),
        *_limits(own, given),
        fixed_decision(given),
        given,
    )

    def config_of(plan: Plan) -> Any:
        cfg = merge(host.get_cfg(), None, with_given(plan, given).overrides())
        if not task.machine.gpu:
            cfg.MODEL.DEVICE = "cpu"  # the run itself warns
        return _complete(cfg, chosen.training)

    def measure(plan: Plan, height: int, width: int) -> float:
        cfg = config_of(plan)
        require_space_for_checkpoint(cfg, folder)
        require_memory(cfg, height=height, width=width, free=task.machine.memory)
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
