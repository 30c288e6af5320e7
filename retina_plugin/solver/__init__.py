"""Parameter groups, optimizers, gradient clipping and learning rate schedules, for both hosts."""

from retina_plugin.solver.clipping import clip_before_steps, clip_gradients
from retina_plugin.solver.ema import WeightAverage
from retina_plugin.solver.optimizer import build_optimizer
from retina_plugin.solver.parameter_groups import parameter_groups
from retina_plugin.solver.schedule import (
    build_lr_scheduler,
    build_progress_scheduler,
    build_schedule,
)

__all__ = [
    "WeightAverage",
    "build_lr_scheduler",
    "build_optimizer",
    "build_progress_scheduler",
    "build_schedule",
    "clip_before_steps",
    "clip_gradients",
    "parameter_groups",
]
