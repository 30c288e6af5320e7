"""Checks that both hosts run before training, and values that depend on machine and data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlparse

import torch

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import DEVICE
from retina_plugin.config.registry import value_of
from retina_plugin.data import (
    evaluated_sets,
    final_sets,
    use_box_coordinates,
    use_voc_offset,
)
from retina_plugin.data.evaluation_sets import final_sets_key
from retina_plugin.engine.host import Request
from retina_plugin.engine.summary import alpha_summary, prior_summary
from retina_plugin.losses import auto_alpha, auto_prior
from retina_plugin.modeling.build_backbone import import_plugins
from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode

logger = logging.getLogger("retina_plugin")
# Key of the number of classes, without background -> the meta-architectures that read it. Other
# meta-architectures, such as those of plugins, are not checked.
NUM_CLASSES_KEYS = {
    "MODEL.RETINANET.NUM_CLASSES": ("FocalRetinaNet", "RetinaNet"),
    "MODEL.ROI_HEADS.NUM_CLASSES": ("GeneralizedRCNN", "PanopticFPN"),
}
MAX_GPUS = 16  # GPU indices accepted on a machine that has no GPU


def require_device(name: str, key: str) -> None:
    """Check the name of a device.

    On a machine without a GPU, GPU names are accepted too, because :func:`resolve_device` then uses
    the CPU.

    Args:
        name: "cpu", "cuda" or "cuda:0" and so on.
        key: the config key or flag that has this value, for messages.

    Raises:
        ConfigError: another name, or an index that is too large.
    """
    found = DEVICE.fullmatch(name)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else MAX_GPUS
    if not found:
        raise ConfigError(f"{key}: expected cuda, cuda:0, ... or cpu, found {name!r}")
    if found["index"] and int(found["index"]) >= gpus:
        raise ConfigError(
            f"{key}: expected an index below {gpus}, the number of GPUs, found {name!r}"
        )


def resolve_device(cfg: Any) -> None:
    """Use the CPU, with a warning, if ``MODEL.DEVICE`` is cuda and no GPU is available.

    Raises:
        ConfigError: see :func:`require_device`.
    """
    require_device(cfg.MODEL.DEVICE, "MODEL.DEVICE")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning(
            "MODEL.DEVICE is %s, but no GPU is available: using the CPU", cfg.MODEL.DEVICE
        )
        cfg.MODEL.DEVICE = "cpu"


def check_processes(request: Request) -> None:
    """Check ``--num-gpus``, ``--num-machines``, ``--machine-rank`` and ``--dist-url``.

    Raises:
        ConfigError: a number out of its range, or an invalid address.
    """
    for flag, least, most in (("num_gpus", 0, 1024), ("num_machines", 1, 10**4)):
        value = getattr(request, flag)
        if not least <= value <= most:
            raise ConfigError(
                f"--{flag.replace('_', '-')}: expected {least} to {most}, found {value}"
            )
    if not 0 <= request.machine_rank < request.num_machines:
        raise ConfigError(
            f"--machine-rank: expected 0 to {request.num_machines - 1}, as --num-machines is "
            f"{request.num_machines}, found {request.machine_rank}"
        )
    if request.dist_url == "auto" and request.num_machines == 1:
        return
    try:
        url = urlparse(request.dist_url)
        # url.port raises ValueError for an invalid port
        good = url.scheme == "tcp" and bool(url.hostname) and bool(url.port)
        good = good and request.dist_url == f"tcp://{url.netloc}" and "@" not in url.netloc
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            "--dist-url: expected tcp://HOST:PORT with a port from 1 to 65535, "
            f"found {request.dist_url!r}"
        )


def prepare_data(cfg: Any) -> None:
    """Apply the keys of a config that change how data sets are read.

    Imports the modules of ``IMPORTS``, which may register data sets, and sets how box coordinates
    are read (``BOX_COORDINATES`` and ``VOC_OFFSET``). Call this before reading a data set of the
    config.

    Raises:
        ImportError, ValueError: see :func:`retina_plugin.modeling.build_backbone.import_plugins`,
            :func:`retina_plugin.data.use_box_coordinates` and
            :func:`retina_plugin.data.use_voc_offset`.
    """
    import_plugins(cfg)
    use_box_coordinates(cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES)
    use_voc_offset(cfg.MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET)


def resolve_num_classes(
    cfg: Any, class_names_of: Callable[[str], Sequence[str]], *, eval_only: bool
) -> list[str]:
    """Set the keys of :data:`NUM_CLASSES_KEYS` that are -1, and check the others.

    The key that the meta-architecture reads must match the data sets, and all data sets of the run
    must have the same classes.

    Args:
        cfg: a config that is not frozen.
        class_names_of: returns the class names of a data set, given its name.
        eval_only: whether the run only evaluates; training sets are then not read.

    Returns:
        The K class names.

    Raises:
        ConfigError: no data set is given, the number of classes does not match the data set,
            or the classes of two data sets differ.
        ImportError: see :func:`prepare_data`.
    """
    prepare_data(cfg)
    key = final_sets_key(cfg) if eval_only else "DATASETS.TRAIN"
    names = final_sets(cfg) if eval_only else [*cfg.DATASETS.TRAIN, *evaluated_sets(cfg)]
    if not (names if eval_only else cfg.DATASETS.TRAIN):
        raise ConfigError(f"{key} is empty: name a data set or its path")
    classes, numbers = list(class_names_of(names[0])), _class_numbers(cfg)
    for number_key, (number, read) in numbers.items():
        if read and number not in (-1, len(classes)):
            raise ConfigError(
                f"{number_key} is {number}, but data set {names[0]} has {_class_list(classes)}. "
                f"Set it to {len(classes)}, or to -1 to take it from {key}; background is not "
                "counted."
            )
    for name in names[1:]:
        _require_same(classes, list(class_names_of(name)), names=(names[0], name))
    for number_key, (number, _) in numbers.items():
        if number == -1:
            value_of(cfg, number_key.removesuffix(".NUM_CLASSES")).NUM_CLASSES = len(classes)
    return classes


def _class_numbers(cfg: Any) -> dict[str, tuple[int, bool]]:
    """Return the keys of :data:`NUM_CLASSES_KEYS` in a config.

    The value of each is the number, and whether the meta-architecture reads it.
    """
    values, name = dict(leaves(cfg)), cfg.MODEL.META_ARCHITECTURE
    return {
        key: (values[key], name in readers)
        for key, readers in NUM_CLASSES_KEYS.items()
        if key in values
    }


def _require_same(classes: list[str], found: list[str], *, names: tuple[str, str]) -> None:
    advice = "give both the same categories in the same order of ids"
    if len(found) != len(classes):
        raise ConfigError(
            f"data set {names[0]} has {_class_list(classes)}, {names[1]} has "
            f"{_class_list(found)}: {advice}"
        )
    if found != classes:
        different = next((a, b) for a, b in zip(classes, found, strict=True) if a != b)
        raise ConfigError(
            f"data sets {names[0]} and {names[1]} name their classes differently, "
            f"first {different[0]!r} and {different[1]!r}: {advice}"
        )


def _class_list(classes: list[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''})"


def resolve_alpha(
    cfg: Any, class_names: Sequence[str], counts_of: Callable[[str], Sequence[int]]
) -> str:
    """Replace ``MODEL.RETINANET.FOCAL_LOSS_ALPHA: auto`` by one weight per class.

    The weights are computed from the number of boxes of each class in the training sets; see
    :func:`retina_plugin.losses.auto_alpha`.

    Args:
        cfg: a config that is not frozen; its number of classes is set.
        class_names: K names.
        counts_of: returns the number of boxes of each class of a data set, given its name.

    Returns:
        A table of counts and weights to print; empty if the key is not auto.

    Raises:
        ConfigError: ``AUTO_ALPHA_BASE``, the mean weight, is outside ``AUTO_ALPHA_CLIP``.
    """
    if cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA != "auto":
        return ""
    node = cfg.MODEL.RETINA_PLUGIN
    base, power, (least, largest) = (
        node.AUTO_ALPHA_BASE,
        node.AUTO_ALPHA_POWER,
        node.AUTO_ALPHA_CLIP,
    )
    if not least <= base <= largest:
        raise ConfigError(
            "MODEL.RETINA_PLUGIN.AUTO_ALPHA_BASE: expected a mean within AUTO_ALPHA_CLIP "
            f"{[least, largest]}, found {base}"
        )
    counts = _counts(cfg, counts_of)
    alpha = [
        float(f"{a:.4g}") for a in auto_alpha(counts, base=base, power=power, clip=(least, largest))
    ]
    cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA = alpha
    return alpha_summary(class_names, counts, alpha)


def resolve_prior(
    cfg: Any, class_names: Sequence[str], counts_of: Callable[[str], Sequence[int]]
) -> str:
    """Replace ``MODEL.RETINANET.PRIOR_PROB: auto`` by one prior probability per class.

    The values are computed from the number of boxes of each class in the training sets; see
    :func:`retina_plugin.losses.auto_prior`. Arguments and result are as in
    :func:`resolve_alpha`.
    """
    if cfg.MODEL.RETINANET.PRIOR_PROB != "auto":
        return ""
    base, counts = cfg.MODEL.RETINA_PLUGIN.AUTO_PRIOR_BASE, _counts(cfg, counts_of)
    prior = [float(f"{p:.4g}") for p in auto_prior(counts, base=base)]
    cfg.MODEL.RETINANET.PRIOR_PROB = prior
    return prior_summary(class_names, counts, prior)


def _counts(cfg: Any, counts_of: Callable[[str], Sequence[int]]) -> list[int]:
    return [sum(boxes) for boxes in zip(*map(counts_of, cfg.DATASETS.TRAIN), strict=True)]


def check_run(cfg: Any, *, num_gpus: int, num_machines: int) -> None:
    """Check that the GPUs are available and the batch can be split over all processes.

    Raises:
        ConfigError: more GPUs than the machine has, one fixed GPU for several processes, or
            ``IMS_PER_BATCH`` is not a multiple of the number of processes.
    """
    if num_gpus > 1 and ":" in cfg.MODEL.DEVICE:
        raise ConfigError(
            f"MODEL.DEVICE: expected cuda, because --num-gpus is {num_gpus}, found "
            f"{cfg.MODEL.DEVICE!r}"
        )
    if cfg.MODEL.DEVICE.startswith("cuda") and num_gpus > torch.cuda.device_count():
        raise ConfigError(
            f"--num-gpus is {num_gpus}, but this machine has {torch.cuda.device_count()}"
        )
    processes = max(num_gpus, 1) * num_machines
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}: {processes} processes cannot "
            f"share it equally. Set it to a multiple of {processes}."
        )


def freeze_unused_parameters(model: RetinaNet) -> None:
    """Freeze backbone parameters on which no level of ``MODEL.RETINANET.IN_FEATURES`` depends.

    They get no gradient. DDP would wait for one forever, and weight decay would shrink them to
    zero. Examples are the parameters of a level that the head does not use.
    """
    parameters = [p for p in model.backbone.parameters() if p.requires_grad]
    if not parameters:
        return
    side = max(model.preprocessor.size_divisibility, 64)
    with evaluation_mode(model):
        maps = model.backbone(
            torch.zeros(1, len(model.pixel_mean), side, side, device=model.device)
        )
    total = sum(maps[name].sum() for name in model.in_features)
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
    ):
        parameter.requires_grad_(gradient is not None)
