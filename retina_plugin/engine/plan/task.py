"""The data, the machine and the limits of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from retina_plugin.engine.plan.given import Given
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.network import NOT_INSTALLED, Decision
from retina_plugin.engine.plan.profile import DataProfile
from retina_plugin.engine.plan.rules import Datasets


@dataclass(frozen=True, eq=False)
class Task:
    """The data, machine and limits for which a run is planned.

    Attributes:
        datasets: names of the data sets.
        training: the profile of the training images.
        validation: the profile of the validation images.
        machine: the machine that trains.
        minutes: time that the run may take; 0 for no limit.
        steps: number of steps that the user chose; 0 if the plan chooses it.
        fixed: whether the network has ImageNet weights; None if the plan decides.
        given: the values on the command line.
    """

    datasets: Datasets
    training: DataProfile
    validation: DataProfile
    machine: Machine
    minutes: float = 0.0
    steps: int = 0
    fixed: Decision | None = NOT_INSTALLED
    given: Given = field(default_factory=dict)
