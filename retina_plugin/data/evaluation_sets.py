"""Which data sets a run evaluates, during training and at its end."""

from __future__ import annotations

from typing import Any

VALIDATION = "MODEL.RETINA_PLUGIN.DATASETS.VALIDATION"
DATASET_KEYS = ("DATASETS.TRAIN", "DATASETS.TEST", VALIDATION)  # lists of names


def validation_sets(cfg: Any) -> list[str]:
    """Return the sets that are evaluated during training, and on which the best model is chosen.

    They are ``MODEL.RETINA_PLUGIN.DATASETS.VALIDATION``, or ``DATASETS.TEST`` if that is empty. May
    be empty.
    """
    return list(cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION or cfg.DATASETS.TEST)


def final_sets(cfg: Any) -> list[str]:
    """Return the sets of the table at the end of a run, which an evaluation alone evaluates too.

    They are ``DATASETS.TEST``, or ``MODEL.RETINA_PLUGIN.DATASETS.VALIDATION`` if that is empty. May
    be empty.
    """
    return list(cfg.DATASETS.TEST or cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION)


def evaluated_sets(cfg: Any) -> list[str]:
    """Return all sets that a training run evaluates: validation sets, then test sets, each once."""
    return list(dict.fromkeys([*validation_sets(cfg), *final_sets(cfg)]))


def final_sets_key(cfg: Any) -> str:
    """Return the key of :func:`final_sets`, for messages; ``DATASETS.TEST`` if both are empty."""
    validates_only = cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION and not cfg.DATASETS.TEST
    return VALIDATION if validates_only else "DATASETS.TEST"
