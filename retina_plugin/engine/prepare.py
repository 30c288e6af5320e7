"""Check the config, flags and data of a run, and resolve its ``auto`` values; for both hosts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from retina_plugin.config.conflicts import warn_of_conflicts, warn_of_unused_augmentation
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import require_imported
from retina_plugin.config.registry import unknown_name_message
from retina_plugin.data import evaluated_sets, final_sets
from retina_plugin.data.catalog import format_lines
from retina_plugin.data.fingerprint import fingerprint
from retina_plugin.data.training import check_transforms
from retina_plugin.engine.best_model import check_selection, selection_note
from retina_plugin.engine.checkpoints import has_checkpoint
from retina_plugin.engine.checks import (
    check_run,
    resolve_alpha,
    resolve_num_classes,
    resolve_prior,
)
from retina_plugin.engine.data_checks import data_check_line
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.read_config import complete_config
from retina_plugin.engine.run_folder import check_folder
from retina_plugin.engine.run_images import prepare_images
from retina_plugin.engine.step_memory import check_step_memory
from retina_plugin.engine.trackers.registry import require_trackers
from retina_plugin.engine.trained_images import trained_images_note
from retina_plugin.evaluation.metric_notes import detection_limit_warnings
from retina_plugin.modeling.build_backbone import BACKBONE_REGISTRY


@dataclass(frozen=True)
class Run:
    """A checked run.

    Attributes:
        cfg: frozen, with every ``auto`` resolved.
        class_names: K names.
        training_data: fingerprint of the training sets, see :mod:`retina_plugin.data.fingerprint`;
            None in evaluations, and in all but the main process.
    """

    cfg: Any
    class_names: list[str]
    training_data: dict[str, Any] | None


def check_request(cfg: Any, request: Request, host: Host) -> None:
    """Run the checks that need no data, and set values that depend on machine and backbone.

    Args:
        cfg: a merged config of the host; changed in place.
        request: the flags of the run.
        host: the host of the run.

    Raises:
        ConfigError, ImportError: see :func:`retina_plugin.engine.read_config.complete_config`,
            :func:`retina_plugin.config.imports.require_imported` and
            :func:`retina_plugin.engine.checks.check_run`; the backbone is unknown.
    """
    complete_config(cfg)
    _check_backbone(cfg, host)
    require_imported(cfg)
    host.check(cfg, request)
    check_run(cfg, num_gpus=request.num_gpus, num_machines=request.num_machines)
    if not request.eval_only:
        require_trackers(cfg)


def _check_backbone(cfg: Any, host: Host) -> None:
    name, known = cfg.MODEL.BACKBONE.NAME, {*BACKBONE_REGISTRY, *host.backbones()}
    if name not in known:
        raise ConfigError(
            f"{BACKBONE_REGISTRY.choice_key}: {unknown_name_message('backbone', name, known)}"
        )


def _fetch_weights(cfg: Any, request: Request, host: Host) -> None:
    """Find or download the file of ``MODEL.WEIGHTS``, before data are read and files are written.

    Raises:
        WeightsError: there is no such file, or it cannot be downloaded.
    """
    resumed = request.resume and (request.eval_only or has_checkpoint(cfg.OUTPUT_DIR))
    if cfg.MODEL.WEIGHTS and not resumed:
        host.weights_file(cfg.MODEL.WEIGHTS)


def prepare(cfg: Any, request: Request, host: Host, *, main: bool) -> Run:
    """Check a run and resolve values that depend on its data. No file is written.

    Args:
        cfg: a merged config of the host; changed in place and frozen.
        request: the flags of the run.
        host: the host of the run.
        main: whether this is the main process. Only this process prints and checks ``OUTPUT_DIR``.

    Raises:
        ConfigError: a key, a flag or ``OUTPUT_DIR`` cannot be used.
        DatasetError: a data set cannot be used.
        WeightsError: see :func:`_fetch_weights`.
    """
    check_request(cfg, request, host)
    if main:
        check_folder(cfg, request, host)
        _fetch_weights(cfg, request, host)
        warn_of_unused_augmentation(cfg)
        if not request.eval_only:
            warn_of_conflicts(cfg)
    names = resolve_num_classes(cfg, host.class_names, eval_only=request.eval_only)
    if not request.eval_only:
        check_selection(cfg, names)
    host.check_data(cfg, request)
    records = functools.cache(host.records)  # a data set function of the user may be slow
    if not request.eval_only and cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet":
        check_transforms(cfg, [r for name in cfg.DATASETS.TRAIN for r in records(name)])
    lines = [prepare_images(cfg, request, host, records, show=main)]
    lines += format_lines(
        final_sets(cfg) if request.eval_only else [*cfg.DATASETS.TRAIN, *evaluated_sets(cfg)]
    )
    if not request.eval_only:
        lines += [
            resolve(cfg, names, host.class_counts) for resolve in (resolve_alpha, resolve_prior)
        ]
        lines += [selection_note(cfg), trained_images_note(cfg, records)]
        if main:
            check_step_memory(cfg, request, records)
            lines.append(data_check_line(cfg))
    lines.append(detection_limit_warnings(cfg))
    if main:
        print("\n".join(filter(None, lines)), flush=True)
    cfg.freeze()
    trains = main and not request.eval_only
    return Run(cfg, names, fingerprint(map(records, cfg.DATASETS.TRAIN)) if trains else None)
