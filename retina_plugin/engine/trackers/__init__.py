"""Trackers: programs such as W&B and MLflow that get the scalars and images of a run.

A tracker is one file with a subclass of :class:`Tracker`, and one line here. Both hosts pass values
to :class:`RunTrackers`, which owns the step axis and protects the run from errors of trackers.
"""

from retina_plugin.engine.trackers import mlflow as mlflow
from retina_plugin.engine.trackers import wandb as wandb
from retina_plugin.engine.trackers.registry import TRACKERS
from retina_plugin.engine.trackers.run_trackers import RunTrackers, track_run
from retina_plugin.engine.trackers.tracker import TrackedImage, Tracker

__all__ = ["TRACKERS", "RunTrackers", "TrackedImage", "Tracker", "track_run"]
