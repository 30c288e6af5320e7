"""Every config key with its default and its meaning, once; and the safe reading of YAML.

Keys that Detectron2 has keep its name, meaning and default. New keys are those below
``MODEL.RETINA_PLUGIN``.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from fvcore.common.config import CfgNode as FvcoreCfgNode

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.safe_yaml import Entry, read_yaml

logger = logging.getLogger("retina_plugin")

NODE = "MODEL.RETINA_PLUGIN"

PLUGIN_KEYS: dict[str, tuple[Any, str]] = {
    f"{NODE}.IMPORTS": (
        [],
        "Python modules to import first; each may register data sets and parts of your own",
    ),
    f"{NODE}.HEAD": ("RetinaHead", "name in RETINA_HEAD_REGISTRY"),
    f"{NODE}.HEAD_WIDTH": (0, "channels of the head's convolutions; 0: those of the pyramid"),
    f"{NODE}.HEAD_ACTIVATION": ("relu", "none, relu, leaky_relu, silu, gelu or hardswish"),
    f"{NODE}.HEAD_SEPARABLE": (
        False,
        "the head's convolutions are depthwise separable, but for the predictions",
    ),
    f"{NODE}.HEAD_LEVEL_SCALE": (False, "a learnt factor of the box deltas for each level"),
    f"{NODE}.ASSIGNER.NAME": ("MaxIoUAssigner", "name in ASSIGNER_REGISTRY"),
    f"{NODE}.BOX_CODER.NAME": ("DeltaCoder", "name in BOX_CODERS"),
    f"{NODE}.CRITERION.NAME": ("DenseCriterion", "name in CRITERIA"),
    f"{NODE}.SUPPRESSOR.NAME": ("NMS", "name in SUPPRESSORS"),
    f"{NODE}.NORM_GROUPS": (32, "groups of every GN; must divide the number of channels"),
    f"{NODE}.P6_FROM": ("res5", "where P6 comes from: res5 (C5, as in the paper) or p5"),
    f"{NODE}.NECK.LEVELS": (
        5,
        "levels of the pyramid, from the first of FPN.IN_FEATURES on: 5 is P3 to P7",
    ),
    f"{NODE}.NECK.ACTIVATION": (
        "paper",
        "after its convolutions: none, relu, leaky_relu, silu, gelu, hardswish, or paper: none in "
        "FPN, relu in PAFPN, silu in BiFPN",
    ),
    f"{NODE}.NECK.REPEATS": (3, "layers of BiFPN"),
    f"{NODE}.RESNETS.DEEP_STEM": (
        False,
        "three 3x3 convolutions in the stem's place of one 7x7, as in ResNet-D and DeepLab",
    ),
    f"{NODE}.RESNETS.AVG_POOL_SHORTCUT": (
        False,
        "shortcuts of stride 2 average before their 1x1 convolution, as in ResNet-D",
    ),
    f"{NODE}.RESNETS.WEIGHT_STANDARDIZATION": (
        False,
        "kernels of mean 0 and variance 1; for training with GN from scratch",
    ),
    f"{NODE}.RESNETS.ZERO_INIT": (
        False,
        "blocks start as their shortcuts; for training from scratch",
    ),
    f"{NODE}.TIMM.NAME": (
        "",
        "model of timm, for the backbones build_retina_timm_*; see timm.list_models()",
    ),
    f"{NODE}.TIMM.DROP_PATH": (0.0, "largest rate of stochastic depth"),
    f"{NODE}.INFERENCE_DTYPE": (
        "float32",
        "float32, or bfloat16 / float16: faster detection, of lower precision",
    ),
    f"{NODE}.CLASS_LOSS": (
        "focal",
        "ce, balanced_ce, focal, focal_star, or one of your own in CLASS_LOSSES",
    ),
    f"{NODE}.AUTO_ALPHA_BASE": (
        0.25,
        "mean over classes of the weights that FOCAL_LOSS_ALPHA auto gives; 0.75 goes with "
        "balanced_ce",
    ),
    f"{NODE}.AUTO_ALPHA_POWER": (
        0.5,
        "how far auto favours rare classes: 0 not at all, 1 in inverse proportion to boxes",
    ),
    f"{NODE}.AUTO_ALPHA_CLIP": ([0.01, 0.99], "smallest and largest weight that auto gives"),
    f"{NODE}.AUTO_PRIOR_BASE": (0.01, "mean over classes of the scores that PRIOR_PROB auto gives"),
    f"{NODE}.FINE_TUNE": (
        False,
        "start training with fresh class scores where MODEL.WEIGHTS has another number of classes",
    ),
    f"{NODE}.DATASETS.BOX_COORDINATES": (
        "",
        "what boxes of annotation files are, in words: xywh (COCO's), xyxy or cxcywh; pixels or "
        "fraction; for photographs that EXIF "
        "turns upright or stored. What is not said is COCO's and checked",
    ),
    f"{NODE}.OPTIMIZER": ("SGD", "SGD (with SOLVER.MOMENTUM) or AdamW"),
    f"{NODE}.INPUT.PIXEL_RANGE": (
        "auto",
        "values of images of more than 8 bits or floats that become 0 and 255: two numbers, or "
        "auto: percentiles of the training set",
    ),
    f"{NODE}.INPUT.MAX_PIXELS": (178_956_970, "width x height of an image file at most"),
}

DETECTRON2_KEYS: dict[str, tuple[Any, str]] = {
    "VERSION": (2, "of the layout of these keys"),
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN", "the detector; FocalRetinaNet here"),
    "MODEL.DEVICE": (
        "cuda",
        "cuda or cpu; cuda becomes cpu, with a word about it, where there is no GPU",
    ),
    "MODEL.WEIGHTS": (
        "",
        "checkpoint to evaluate or to start from, then also of a backbone alone; see weights.md",
    ),
    "MODEL.PIXEL_MEAN": (
        [103.530, 116.280, 123.675],
        "subtracted from each channel, 0..255, in INPUT.FORMAT's order",
    ),
    "MODEL.PIXEL_STD": ([1.0, 1.0, 1.0], "each channel is divided by it"),
    "MODEL.BACKBONE.NAME": ("build_resnet_backbone", "builder of backbone and neck"),
    "MODEL.BACKBONE.FREEZE_AT": (
        2,
        "parts that do not learn, from the stem on: 0 none, 1 stem, 2 also res2, ...",
    ),
    "MODEL.RESNETS.DEPTH": (50, "18, 34, 50, 101 or 152"),
    "MODEL.RESNETS.OUT_FEATURES": (["res4"], "stages that the backbone returns"),
    "MODEL.RESNETS.NUM_GROUPS": (1, "groups of the 3x3 convolution of a bottleneck"),
    "MODEL.RESNETS.NORM": ("FrozenBN", "FrozenBN, BN, SyncBN, GN or nothing"),
    "MODEL.RESNETS.WIDTH_PER_GROUP": (64, "inner width of a bottleneck in res2, for each group"),
    "MODEL.RESNETS.STRIDE_IN_1X1": (
        True,
        "a bottleneck's stride is in its first 1x1 (MSRA weights) or in its 3x3",
    ),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": (
        256,
        "output width of res2, doubled by each later stage; 64 for depths 18 and 34",
    ),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": (64, "width of the stem"),
    "MODEL.FPN.IN_FEATURES": ([], "stages that the pyramid is built on, finest first"),
    "MODEL.FPN.OUT_CHANNELS": (256, "width of the pyramid and of the head"),
    "MODEL.FPN.NORM": ("", "norm of the pyramid's convolutions"),
    "MODEL.ANCHOR_GENERATOR.SIZES": (
        [[32, 64, 128, 256, 512]],
        "anchor sizes in pixels of the resized image, a list for each level",
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ([[0.5, 1.0, 2.0]], "height / width of anchors"),
    "MODEL.ANCHOR_GENERATOR.OFFSET": (0.0, "first anchor centre, in strides"),
    "MODEL.RETINANET.NUM_CLASSES": (
        80,
        "classes without background; -1: as many as the training set has",
    ),
    "MODEL.RETINANET.IN_FEATURES": (["p3", "p4", "p5", "p6", "p7"], "levels that the head sees"),
    "MODEL.RETINANET.NUM_CONVS": (4, "convolutions in each subnet of the head"),
    "MODEL.RETINANET.NORM": (
        "",
        "norm of the head: nothing, GN, or BN / SyncBN with statistics for each level",
    ),
    "MODEL.RETINANET.PRIOR_PROB": (
        0.01,
        "score of every anchor before training; also a list with one for each class, or auto: from "
        "the training set",
    ),
    "MODEL.RETINANET.IOU_THRESHOLDS": (
        [0.4, 0.5],
        "background below the first, object from the second",
    ),
    "MODEL.RETINANET.IOU_LABELS": ([0, -1, 1], "background, ignored, object"),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": (
        0.25,
        "weight of positives (1 - alpha: of negatives); 0.75 goes with balanced_ce; also one for "
        "each class, or auto: from the data",
    ),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": (
        2.0,
        "focusing parameter, at least 0; 0 is balanced cross entropy",
    ),
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": ("smooth_l1", "smooth_l1, giou, diou or ciou"),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": (0.1, "corner of smooth L1; 0 is L1"),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": ((1.0, 1.0, 1.0, 1.0), "factors of (dx, dy, dw, dh)"),
    "MODEL.RETINANET.SCORE_THRESH_TEST": (0.05, "detections below are dropped"),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": (1000, "candidates of each level before NMS"),
    "MODEL.RETINANET.NMS_THRESH_TEST": (
        0.5,
        "IoU above which the lower of two boxes of one class goes",
    ),
    "DATASETS.TRAIN": (
        (),
        "data sets to train on: registered names, or annotations.json@image_folder",
    ),
    "DATASETS.TEST": ((), "data sets to evaluate on, likewise"),
    "INPUT.FORMAT": ("BGR", "order of channels that the network sees, BGR or RGB"),
    "INPUT.MIN_SIZE_TRAIN": (
        (800,),
        "shorter side in training, pixels; one of these, or between two",
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "choice or range"),
    "INPUT.MAX_SIZE_TRAIN": (1333, "the longer side in training is at most this"),
    "INPUT.MIN_SIZE_TEST": (800, "shorter side at test time; 0 keeps the size"),
    "INPUT.MAX_SIZE_TEST": (1333, "the longer side at test time is at most this"),
    "INPUT.RANDOM_FLIP": ("horizontal", "horizontal, vertical or none; half of the images"),
    "INPUT.CROP.ENABLED": (False, "random crops in training, before resizing"),
    "INPUT.CROP.TYPE": ("relative_range", "relative_range, relative, absolute or absolute_range"),
    "INPUT.CROP.SIZE": (
        [0.9, 0.9],
        "height and width of the crop, in image sizes or pixels; a range starts here",
    ),
    "DATALOADER.NUM_WORKERS": (4, "processes that load images"),
    "DATALOADER.ASPECT_RATIO_GROUPING": (
        True,
        "in training, wide images share batches with wide ones and the others with the others, so "
        "that less is padded",
    ),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": (True, "leave images without boxes out of training"),
    "SOLVER.IMS_PER_BATCH": (16, "images of a step, over all GPUs"),
    "SOLVER.MAX_ITER": (40000, "steps"),
    "SOLVER.BASE_LR": (0.001, "learning rate after warm-up"),
    "SOLVER.BASE_LR_END": (0.0, "where WarmupCosineLR ends"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupMultiStepLR or WarmupCosineLR"),
    "SOLVER.STEPS": ((30000,), "steps at which WarmupMultiStepLR multiplies by GAMMA"),
    "SOLVER.GAMMA": (0.1, "see STEPS"),
    "SOLVER.WARMUP_ITERS": (1000, "steps of warm-up"),
    "SOLVER.WARMUP_FACTOR": (1.0 / 1000, "warm-up starts at this share of BASE_LR"),
    "SOLVER.WARMUP_METHOD": ("linear", "linear or constant"),
    "SOLVER.MOMENTUM": (0.9, "of SGD"),
    "SOLVER.NESTEROV": (False, "of SGD"),
    "SOLVER.WEIGHT_DECAY": (0.0001, "of weights"),
    "SOLVER.WEIGHT_DECAY_NORM": (0.0, "of normalisation layers"),
    "SOLVER.WEIGHT_DECAY_BIAS": (None, "of biases; None follows WEIGHT_DECAY"),
    "SOLVER.BIAS_LR_FACTOR": (1.0, "learning rate of biases, in BASE_LR"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": (False, "clip the gradient of each parameter"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("value", "value, or norm of each parameter"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": (1.0, "the largest value, or norm"),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": (2.0, "which norm"),
    "SOLVER.AMP.ENABLED": (False, "mixed precision"),
    "SOLVER.CHECKPOINT_PERIOD": (5000, "steps between checkpoints"),
    "TEST.EVAL_PERIOD": (0, "steps between evaluations; 0: only at the end"),
    "TEST.DETECTIONS_PER_IMAGE": (100, "detections of an image at most"),
    "OUTPUT_DIR": ("./output", "where everything is written"),
    "SEED": (-1, "of everything random; -1 takes another one each time"),
    "CUDNN_BENCHMARK": (False, "let cuDNN try its algorithms; pays when all images have one size"),
    "VIS_PERIOD": (0, "steps between pictures of truth and detections in TensorBoard; 0: none"),
}

# Nodes of Detectron2 that RetinaNet never reads, and the key that was probably meant.
NOT_RETINANET = {
    "MODEL.ROI_HEADS.NUM_CLASSES": "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "MODEL.RETINANET.NMS_THRESH_TEST",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
    "MODEL.RPN.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
}


class SafeMerge:
    """Reading of YAML files and overrides, mixed into either host's ``CfgNode``.

    YAML is data here: tags that build Python objects are refused, an unknown key is an error that
    names the nearest known one.
    """

    REACH = ""  # what a host says of keys that are not its own

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merge a YAML file and the files that its ``_BASE_`` names.

        Args:
            cfg_filename: a path.
            allow_unsafe: part of Detectron2's signature; must stay False.

        Raises:
            ConfigError: see :func:`retina_plugin.config.safe_yaml.read_yaml`; also an unknown key,
                a value of another type, or a number that is infinite, NaN or beyond 64 bits.
        """
        if allow_unsafe:
            raise ConfigError(
                f"{cfg_filename}: unsafe YAML is not read; write numbers instead of !!python tags"
            )
        for path, entries in reversed(_with_bases(os.fspath(cfg_filename))):
            for key, value, line in entries:
                self._merge_one(key, value, f"{path}, line {line}")

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merge overrides ``[KEY, VALUE, KEY, VALUE, ...]`` as the command line gives them; of a
        key given twice, the last, with a warning.

        Raises:
            ConfigError: an odd number of entries, and values as in :meth:`merge_from_file`.
        """
        if len(cfg_list) % 2:
            raise ConfigError(
                f"overrides come in pairs KEY VALUE, found {len(cfg_list)} entries: "
                f"{' '.join(map(str, cfg_list))}"
            )
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            self._merge_one(str(key), value, "command line")
        for key, times in Counter(map(str, cfg_list[0::2])).items():
            if times > 1:
                logger.warning(
                    "command line: %s is given %d times; the last one counts", key, times
                )

    def _merge_one(self, key: str, value: Any, source: str) -> None:
        *parents, name = key.split(".")
        node = self
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or name not in node:
            raise ConfigError(
                f"{source}: unknown key {key}. "
                f"{_hint(key, [k for k, _ in leaves(self)])}{self.REACH}"
            )
        if isinstance(node[name], Mapping):
            raise ConfigError(
                f"{source}: {key} is a group of keys, found the value {_brief(value)}"
            )
        where = f"{source}: {key}"
        several = SEVERAL_KINDS.get(key)
        value = self._decoded(
            value, None if several else node[name], where
        )  # such a key may hold text now and take numbers
        _require_numbers(value, where)
        value = several(value, where) if several else _coerced(value, node[name], where)
        _require_plain(value, where)
        setattr(node, name, value)

    def _decoded(self, value: Any, old: Any, where: str) -> Any:
        """The Python literal that a text stands for, or the text; text stays text where ``old`` is
        text: a folder may be called 2024."""
        try:
            decoded = self._decode_cfg_value(value)
        # {[]}, or thousands of signs or brackets
        except (TypeError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{where}: {value:.60} is not a value that can be read") from error
        return (
            value
            if isinstance(old, str) and isinstance(value, str) and not isinstance(decoded, str)
            else decoded
        )


class CfgNode(SafeMerge, FvcoreCfgNode):
    """fvcore's config tree with safe merging, for use without Detectron2."""

    REACH = " Keys that only Detectron2 reads are not supported without it."


def get_cfg() -> CfgNode:
    """All keys with their defaults, for every host but Detectron2 (there:
    :func:`retina_plugin.d2.get_cfg`)."""
    cfg = CfgNode()
    add_keys(cfg, DETECTRON2_KEYS)
    add_keys(cfg, PLUGIN_KEYS)
    return cfg


def add_keys(cfg: Any, keys: Mapping[str, tuple[Any, str]]) -> None:
    """Add keys and their defaults to ``cfg``, with the nodes that they need."""
    for key, (default, _) in keys.items():
        *parents, name = key.split(".")
        node = cfg
        for parent in parents:
            node = node.setdefault(parent, type(cfg)())
        node[name] = type(default)(default) if isinstance(default, (list, tuple)) else default


def _with_bases(path: str) -> list[tuple[str, list[Entry]]]:
    """[(file, its keys)], the file itself first, then its base, the base's base, ..."""
    files: list[tuple[str, list[Entry]]] = []
    seen: list[str] = []
    while True:
        seen.append(os.path.realpath(path))
        if seen[-1] in seen[:-1]:
            raise ConfigError(f"{path}: _BASE_ leads back to itself: {' -> '.join(seen)}")
        entries = read_yaml(path)
        files.append((path, [entry for entry in entries if entry.key != "_BASE_"]))
        bases = [entry for entry in entries if entry.key == "_BASE_"]
        if not bases:
            return files
        _, base, line = bases[0]
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f"{path}, line {line}: _BASE_: expected the name of one file, found {base!r}"
            )
        _require_plain(base, f"{path}, line {line}: _BASE_")
        path = os.path.join(os.path.dirname(path), os.path.expanduser(base))


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a tree that is not a node."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{name}", value


def _hint(key: str, known: list[str]) -> str:
    if key in NOT_RETINANET:
        return f"RetinaNet does not read it; set {NOT_RETINANET[key]}."
    node, _, name = key.rpartition(".")
    # Longer names of the same node come first: RETINANET.GAMMA is FOCAL_LOSS_GAMMA, hardly SOLVER's
    # GAMMA.
    longer = [k for k in known if k.startswith(f"{node}.") and k.endswith(f"_{name}")]
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    near = [*longer, *same_name] or difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    return (
        f"Did you mean {' or '.join(near[:3])}?"
        if near
        else "See docs/config.md for the known keys."
    )


def _alpha(value: Any, where: str) -> float | list[float] | str:
    """A weight, weights for each class, or "auto"."""
    weights = value if isinstance(value, (list, tuple)) else [value]
    numbers = all(
        isinstance(w, (int, float)) and not isinstance(w, bool) and w <= 1 for w in weights
    )
    # alone, -1 is for no weighting
    numbers = numbers and (weights is not value or min(weights, default=0) >= 0)
    if value != "auto" and not (weights and numbers):
        raise ConfigError(
            f"{where}: expected a weight in [0, 1], a list of them with one for each class, or "
            f"auto, found {_brief(value)}"
        )
    return (
        "auto"
        if value == "auto"
        else float(value)
        if weights is not value
        else [float(w) for w in weights]
    )


def _prior(value: Any, where: str) -> float | list[float] | str:
    """A score, scores for each class, or "auto"."""
    scores = value if isinstance(value, (list, tuple)) else [value]
    numbers = all(isinstance(p, float) and 0 < p < 1 for p in scores)
    if value != "auto" and not (scores and numbers):
        raise ConfigError(
            f"{where}: expected a score between 0 and 1, a list of them with one for each class, "
            f"or auto, found {_brief(value)}"
        )
    return list(value) if isinstance(value, tuple) else value


def _pixel_range(value: Any, where: str) -> list[float] | str:
    """Two rising numbers, or "auto"."""
    pair = list(value) if isinstance(value, (list, tuple)) else []
    numbers = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in pair
    )
    if value != "auto" and not (len(pair) == 2 and numbers and pair[0] < pair[1]):
        raise ConfigError(
            f"{where}: expected [low, high], two rising numbers that become 0 and 255, or auto, "
            f"found {value!r}"
        )
    return "auto" if value == "auto" else [float(v) for v in pair]


# Keys whose values are of several types: key -> (value, where it stands) -> the value, or a
# ConfigError.
SEVERAL_KINDS = {
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": _alpha,
    "MODEL.RETINANET.PRIOR_PROB": _prior,
    f"{NODE}.INPUT.PIXEL_RANGE": _pixel_range,
}


def _require_numbers(value: Any, where: str) -> None:
    """Make sure that every number in a value is finite and fits 64 bits: nothing can be computed
    with others, whatever the key."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            _require_numbers(entry, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, found {value}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(
            f"{where}: expected a number of at most 64 bits, found one of {value.bit_length()} bits"
        )


def _require_plain(value: Any, where: str) -> None:
    """Make sure that a value is made of text, numbers and lists; Python has other literals, such as
    sets."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            _require_plain(entry, where)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ConfigError(
            f"{where}: expected text, a number or a list of them, found {type(value).__name__} "
            f"{_brief(value)}"
        )
    elif isinstance(value, str) and not _is_text(value):
        raise ConfigError(
            f"{where}: {_brief(value)} has characters that no text or name of a file has"
        )


def _is_text(value: str) -> bool:
    try:
        # bytes of a name that are not UTF-8 pass, as Python hands them over
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]} ... ({len(text)} characters)"


def _coerced(value: Any, old: Any, where: str) -> Any:
    """``value`` in the type of ``old``: an integer serves as a float, a list as a tuple and back; a
    default of None takes all."""
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, (list, tuple)) and isinstance(value, (list, tuple)):
        return type(old)(value)
    if old is None or type(old) is type(value):
        return value
    hint = ""
    if (
        isinstance(old, (list, tuple))
        and isinstance(value, str)
        and "(" not in value
        and "[" not in value
    ):
        hint = f". One entry is written ('{value:.60}',)"
    raise ConfigError(
        f"{where}: expected {type(old).__name__} like {old!r}, found {type(value).__name__} "
        f"{_brief(value)}{hint}"
    )
