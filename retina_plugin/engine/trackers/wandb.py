"""The tracker W&B (Weights & Biases)."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retina_plugin.engine.trackers.registry import TRACKERS, own_keys
from retina_plugin.engine.trackers.tracker import (
    TrackedImage,
    TrackedRun,
    Tracker,
    require_library,
)

SYNC = "wandb sync {folder}/wandb/offline-run-*"


@TRACKERS.register("wandb", reads=own_keys("wandb"))
class WandbTracker(Tracker):
    """Logs to W&B. Offline, nothing leaves this machine and no account is needed."""

    def __init__(self, *, mode: str, project: str) -> None:
        """
        Args:
            mode: "offline" or "online". The environment variable ``WANDB_MODE`` can turn online
                into offline, but not the other way round.
            project: name of the project.

        Raises:
            ImportError: wandb is not installed.
        """
        require_library("wandb")
        is_kept_offline = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun")
        self.mode, self.project = "offline" if is_kept_offline else mode, project
        self.run: Any = None
        self.folder = ""
        self._step = self._row = -1  # of the last call of log

    def start(self, run: TrackedRun) -> str:
        """See :meth:`Tracker.start`. If no log-in is stored, ``online`` is an error."""
        if self.mode == "offline":  # else wandb reports its own errors to its makers
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.folder, name = run.folder, run.tracker_id or secrets.token_hex(4)
        with _no_questions():
            self.run = wandb.init(
                mode=self.mode,
                project=self.project,
                dir=run.folder,
                id=name,
                name=os.path.basename(os.path.abspath(run.folder)),
                resume="allow" if self.mode == "online" else None,
                config=dict(run.config),
                # upload neither code nor the output of the terminal
                settings=wandb.Settings(
                    console="off", silent=True, disable_git=True, save_code=False
                ),
            )
        # W&B's own step must grow, but the final evaluation may belong to an earlier step
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        return name

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        """Log a row. Offline, its number is the step, so that a resumed run, which has other files,
        has other rows: of rows with one number, W&B keeps only one. Rows must grow, so a row of an
        earlier step gets the next number."""
        if step != self._step:
            self._row = step if step > self._row else self._row + 1
            self._step = step
        self.run.log({**values, "step": step}, step=self._row if self.mode == "offline" else None)

    def log_scalars(self, values: Mapping[str, float], *, step: int) -> None:
        self._log(values, step)

    def log_images(self, images: Sequence[TrackedImage], *, step: int) -> None:
        """Log ``wandb.Image`` with the box groups "ground_truth" and "predictions"."""
        import wandb

        shown = [
            wandb.Image(image.pixels, caption=image.name, boxes=box_groups(image))
            for image in images
        ]
        self._log({"validation/images": shown}, step)

    def finish(self, *, completed: bool) -> None:
        self.run.finish(exit_code=0 if completed else 1)
        if self.mode == "offline":
            print(f"W&B: to upload this run, {SYNC.format(folder=self.folder)}", flush=True)


def box_groups(image: TrackedImage) -> dict[str, Any]:
    """Return the boxes of an image in W&B's format."""
    labels = dict(enumerate(image.class_names))
    return {
        group: {"box_data": [_box(entry, labels) for entry in entries], "class_labels": labels}
        for group, entries in (
            ("ground_truth", image.ground_truth),
            ("predictions", image.detections),
        )
    }


def _box(entry: Mapping[str, Any], labels: Mapping[int, str]) -> dict[str, Any]:
    left, top, right, bottom = map(float, entry["bbox"])
    box: dict[str, Any] = {
        "position": {"minX": left, "minY": top, "maxX": right, "maxY": bottom},
        "domain": "pixel",
        "class_id": int(entry["category_id"]),
        "box_caption": labels[entry["category_id"]],
    }
    if "score" in entry:
        box["scores"] = {"score": float(entry["score"])}
        box["box_caption"] += f" {entry['score']:.2f}"
    return box


@contextlib.contextmanager
def _no_questions() -> Iterator[None]:
    """Replace standard input by an empty one: without a log-in W&B then raises an error instead of
    asking for a key."""
    stdin = sys.stdin
    with open(os.devnull, encoding="utf-8") as sys.stdin:
        try:
            yield
        finally:
            sys.stdin = stdin
