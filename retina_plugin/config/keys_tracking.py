"""Config keys of trackers; :mod:`retina_plugin.config.keys` adds them below
``MODEL.RETINA_PLUGIN``."""

from __future__ import annotations

from retina_plugin.config.key import Key
from retina_plugin.config.rules import between, different, list_of, one_of, text

TRACKING_KEYS: dict[str, Key] = {
    "TRACKING.TRACKERS": Key(
        [],
        "trackers that get scalars and validation images during training, as names in TRACKERS: "
        "wandb, mlflow",
        list_of(text("that are text"), what="names", empty=True) & different(),
    ),
    "TRACKING.IMAGES": Key(
        4,
        "number of validation images, with ground truth and detections, that trackers get after "
        "each evaluation",
        between(0, 100),
    ),
    "TRACKING.wandb.MODE": Key(
        "offline",
        "offline: nothing is uploaded, and wandb sync uploads the files in OUTPUT_DIR/wandb later; "
        "online: uploads during training, after a log-in with wandb login",
        one_of("offline", "online"),
    ),
    "TRACKING.wandb.PROJECT": Key("retina_plugin", "project in W&B", text("the name of a project")),
    "TRACKING.mlflow.URI": Key(
        "mlruns",
        "where MLflow stores runs: a folder, a database such as sqlite:///mlflow.db, or the "
        "address of a server",
        text("a folder or an address"),
    ),
    "TRACKING.mlflow.EXPERIMENT": Key(
        "retina_plugin", "experiment in MLflow", text("the name of an experiment")
    ),
}
