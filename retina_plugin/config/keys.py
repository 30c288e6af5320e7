"""Every config key with its default, its meaning and the rule of its values, once.

Keys that Detectron2 has keep its name, meaning and default. New keys are those below
``MODEL.RETINA_PLUGIN``; parts from outside add their own, see
:class:`retina_plugin.config.registry.Registry`.
"""

from __future__ import annotations

import re
from numbers import Integral

from retina_plugin.config.key import Key
from retina_plugin.config.rules import (
    Rule,
    above,
    at_least,
    at_most,
    below,
    between,
    by_level,
    different,
    list_of,
    one_of,
    text,
    whole,
)

NODE = "MODEL.RETINA_PLUGIN"

DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d{1,4}))?")
CHANNELS = between(1, 65_536)
PIXELS = between(1, 100_000)  # a side of an image
SIZES = between(8, 100_000)  # a side of what the network sees; P3 has a cell every 8 pixels
STAGES = list_of(text("of stages"), what="names", empty=True)
STEPS = between(1, 10**9)
PERIOD = between(0, 10**9)
SHARE = between(0, 1)
INSIDE = above(0) & below(1)
SCORE = between(1e-6, 1 - 1e-6)  # nearer to 0 or 1 no training gets anywhere in float32
DECAY = between(0, 1)
NAMES = list_of(text("that are text"), what="names, or annotations.json@image_folder,", empty=True)
SEEDS = Rule(
    lambda v: isinstance(v, Integral) and -(2**63) <= v < 2**32,
    "below 2^32; a negative one takes another seed each time",
)
CLASSES = list_of(
    Rule(
        lambda v: (
            isinstance(v, dict)
            and isinstance(v.get("class_path"), str)
            and "." in v["class_path"]
            and isinstance(v.get("init_args", {}), dict)
            and all(isinstance(name, str) for name in v.get("init_args", {}))
            and v.keys() <= {"class_path", "init_args"}
        ),
        "{class_path: 'package.module.Class', init_args: {argument: value, ...}}",
    ),
    what="entries",
    empty=True,
)
APART = Rule(
    lambda v: v[1] - v[0] >= max(1e-30, 1e-12 * max(map(abs, v))),
    "at least 1e-30 and 1e-12 of the larger apart",
)
BOX_COORDINATES = Rule(
    lambda v: (
        re.fullmatch(
            r"((xywh|xyxy|cxcywh)\b)? ?((pixels|fraction)\b)? "
            r"?(upright|stored)?",
            v,
        )
        is not None
    ),
    "words such as 'xyxy fraction': xywh, xyxy or cxcywh, then pixels or fraction, then upright or "
    "stored",
)

PLUGIN_KEYS: dict[str, Key] = {
    f"{NODE}.IMPORTS": Key(
        [], "Python modules to import first; each may register data sets and parts of your own"
    ),
    f"{NODE}.HEAD.NAME": Key("RetinaHead", "name in RETINA_HEAD_REGISTRY"),
    f"{NODE}.HEAD.WIDTH": Key(
        0, "channels of the head's convolutions; 0: those of the pyramid", between(0, 65_536)
    ),
    f"{NODE}.HEAD.ACTIVATION": Key("relu", "none, relu, leaky_relu, silu, gelu or hardswish"),
    f"{NODE}.HEAD.SEPARABLE": Key(
        False, "the head's convolutions are depthwise separable, but for the predictions"
    ),
    f"{NODE}.HEAD.LEVEL_SCALE": Key(False, "a learnt factor of the box deltas for each level"),
    f"{NODE}.ASSIGNER.NAME": Key("MaxIoUAssigner", "name in ASSIGNER_REGISTRY"),
    f"{NODE}.BOX_CODER.NAME": Key("DeltaCoder", "name in BOX_CODERS"),
    f"{NODE}.CRITERION.NAME": Key("DenseCriterion", "name in CRITERIA"),
    f"{NODE}.SUPPRESSOR.NAME": Key("NMS", "name in SUPPRESSORS"),
    f"{NODE}.NORM_GROUPS": Key(
        32, "groups of every GN; must divide the number of channels", CHANNELS
    ),
    f"{NODE}.P6_FROM": Key("res5", "where P6 comes from: res5 (C5, as in the paper) or p5"),
    f"{NODE}.NECK.LEVELS": Key(
        5,
        "levels of the pyramid, from the first of FPN.IN_FEATURES on: 5 is P3 to P7",
        between(1, 8),
    ),
    f"{NODE}.NECK.ACTIVATION": Key(
        "paper",
        "after its convolutions: none, relu, leaky_relu, silu, gelu, hardswish, or paper: none in "
        "FPN, relu in PAFPN, silu in BiFPN",
    ),
    f"{NODE}.NECK.REPEATS": Key(3, "layers of BiFPN", between(1, 100)),
    f"{NODE}.RESNETS.DEEP_STEM": Key(
        False, "three 3x3 convolutions in the stem's place of one 7x7, as in ResNet-D and DeepLab"
    ),
    f"{NODE}.RESNETS.AVG_POOL_SHORTCUT": Key(
        False, "shortcuts of stride 2 average before their 1x1 convolution, as in ResNet-D"
    ),
    f"{NODE}.RESNETS.WEIGHT_STANDARDIZATION": Key(
        False, "kernels of mean 0 and variance 1; for training with GN from scratch"
    ),
    f"{NODE}.RESNETS.ZERO_INIT": Key(
        False, "blocks start as their shortcuts; for training from scratch"
    ),
    f"{NODE}.TIMM.NAME": Key(
        "", "model of timm, for the backbones build_retina_timm_*; see timm.list_models()"
    ),
    f"{NODE}.TIMM.DROP_PATH": Key(0.0, "largest rate of stochastic depth", at_least(0) & below(1)),
    f"{NODE}.INFERENCE_DTYPE": Key(
        "float32", "float32, or bfloat16 / float16: faster detection, of lower precision"
    ),
    f"{NODE}.CLASS_LOSS.NAME": Key(
        "focal", "ce, balanced_ce, focal, focal_star, or one of your own in CLASS_LOSSES"
    ),
    f"{NODE}.AUTO_ALPHA_BASE": Key(
        0.25,
        "mean over classes of the weights that FOCAL_LOSS_ALPHA auto gives; 0.75 goes with "
        "balanced_ce",
        INSIDE,
    ),
    f"{NODE}.AUTO_ALPHA_POWER": Key(
        0.5,
        "how far auto favours rare classes: 0 not at all, 1 in inverse proportion to boxes",
        between(0, 4),
    ),
    f"{NODE}.AUTO_ALPHA_CLIP": Key(
        [0.01, 0.99],
        "smallest and largest weight that auto gives",
        list_of(INSIDE, counts=(2,), rising=True),
    ),
    f"{NODE}.AUTO_PRIOR_BASE": Key(
        0.01,
        "mean over classes of the scores that PRIOR_PROB auto gives",
        between(1e-4, 1 - 1e-6),  # rare classes get a hundredth of it
    ),
    f"{NODE}.FINE_TUNE": Key(
        False,
        "start training with fresh class scores where MODEL.WEIGHTS has another number of classes",
    ),
    f"{NODE}.DATASETS.BOX_COORDINATES": Key(
        "",
        "what boxes of annotation files are, in words: xywh (COCO's), xyxy or cxcywh; pixels or "
        "fraction; for photographs that EXIF "
        "turns upright or stored. What is not said is COCO's and checked",
        BOX_COORDINATES,
    ),
    f"{NODE}.OPTIMIZER": Key("SGD", "SGD (with SOLVER.MOMENTUM) or AdamW", one_of("SGD", "AdamW")),
    f"{NODE}.INPUT.PIXEL_RANGE": Key(
        "auto",
        "values of images of more than 8 bits or floats that become 0 and 255: two numbers, or "
        "auto: percentiles of the training set",
        one_of("auto") | list_of(between(-(10**12), 10**12), counts=(2,), rising=True) & APART,
    ),
    f"{NODE}.INPUT.MAX_PIXELS": Key(
        178_956_970, "width x height of an image file at most", between(1, 10**10)
    ),
    f"{NODE}.INPUT.TRANSFORMS": Key(
        ["RandomCrop", "ResizeShortestEdge", "RandomFlip"],
        "of training samples, in order: names in TRANSFORMS; these read INPUT.CROP, the sizes and "
        "INPUT.RANDOM_FLIP",
        list_of(text("that are text"), what="names", empty=True),
    ),
    f"{NODE}.LIGHTNING.CALLBACKS": Key(
        [],
        "further callbacks of Lightning's trainer: {class_path: ..., init_args: {...}} of each",
        CLASSES,
    ),
    f"{NODE}.LIGHTNING.LOGGERS": Key(
        [], "further loggers of Lightning's trainer, such as W&B's, likewise", CLASSES
    ),
}

DETECTRON2_KEYS: dict[str, Key] = {
    "VERSION": Key(2, "of the layout of these keys", one_of(2)),
    "MODEL.META_ARCHITECTURE": Key("GeneralizedRCNN", "the detector; FocalRetinaNet here"),
    "MODEL.DEVICE": Key(
        "cuda",
        "cuda or cpu; cuda becomes cpu, with a word about it, where there is no GPU",
        Rule(lambda v: DEVICE.fullmatch(v) is not None, "cuda, cuda:0, ... or cpu"),
    ),
    "MODEL.WEIGHTS": Key(
        "", "checkpoint to evaluate or to start from, then also of a backbone alone; see weights.md"
    ),
    "MODEL.PIXEL_MEAN": Key(
        [103.530, 116.280, 123.675],
        "subtracted from each channel, 0..255, in INPUT.FORMAT's order",
        list_of(between(0, 255), counts=(3,)),
    ),
    "MODEL.PIXEL_STD": Key(
        [1.0, 1.0, 1.0], "each channel is divided by it", list_of(between(0.001, 1000), counts=(3,))
    ),
    "MODEL.BACKBONE.NAME": Key("build_resnet_backbone", "builder of backbone and neck"),
    "MODEL.BACKBONE.FREEZE_AT": Key(
        2,
        "parts that do not learn, from the stem on: 0 none, 1 stem, 2 also res2, ...",
        between(0, 10),
    ),
    "MODEL.RESNETS.DEPTH": Key(50, "18, 34, 50, 101 or 152", one_of(18, 34, 50, 101, 152)),
    "MODEL.RESNETS.OUT_FEATURES": Key(["res4"], "stages that the backbone returns", STAGES),
    "MODEL.RESNETS.NUM_GROUPS": Key(1, "groups of the 3x3 convolution of a bottleneck", CHANNELS),
    "MODEL.RESNETS.NORM": Key("FrozenBN", "FrozenBN, BN, SyncBN, GN or nothing"),
    "MODEL.RESNETS.WIDTH_PER_GROUP": Key(
        64, "inner width of a bottleneck in res2, for each group", CHANNELS
    ),
    "MODEL.RESNETS.STRIDE_IN_1X1": Key(
        True, "a bottleneck's stride is in its first 1x1 (MSRA weights) or in its 3x3"
    ),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": Key(
        256, "output width of res2, doubled by each later stage; 64 for depths 18 and 34", CHANNELS
    ),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": Key(64, "width of the stem", CHANNELS),
    "MODEL.FPN.IN_FEATURES": Key([], "stages that the pyramid is built on, finest first", STAGES),
    "MODEL.FPN.OUT_CHANNELS": Key(256, "width of the pyramid and of the head", CHANNELS),
    "MODEL.FPN.NORM": Key("", "norm of the pyramid's convolutions"),
    "MODEL.ANCHOR_GENERATOR.SIZES": Key(
        [[32, 64, 128, 256, 512]],
        "anchor sizes in pixels of the resized image, a list for each level",
        by_level(between(1, 100_000)),
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Key(
        [[0.5, 1.0, 2.0]], "height / width of anchors", by_level(between(0.001, 1000))
    ),
    "MODEL.ANCHOR_GENERATOR.OFFSET": Key(
        0.0, "first anchor centre, in strides", at_least(0) & below(1)
    ),
    "MODEL.RETINANET.NUM_CLASSES": Key(
        80,
        "classes without background; -1: as many as the training set has",
        one_of(-1) | between(1, 100_000),
    ),
    "MODEL.RETINANET.IN_FEATURES": Key(
        ["p3", "p4", "p5", "p6", "p7"],
        "levels that the head sees",
        list_of(text("of levels"), what="names") & different(),
    ),
    "MODEL.RETINANET.NUM_CONVS": Key(4, "convolutions in each subnet of the head", between(0, 100)),
    "MODEL.RETINANET.NORM": Key(
        "", "norm of the head: nothing, GN, or BN / SyncBN with statistics for each level"
    ),
    "MODEL.RETINANET.PRIOR_PROB": Key(
        0.01,
        "score of every anchor before training; also a list with one for each class, or auto: from "
        "the training set",
        one_of("auto") | SCORE | list_of(SCORE),
    ),
    "MODEL.RETINANET.IOU_THRESHOLDS": Key(
        [0.4, 0.5],
        "background below the first, object from the second",
        list_of(SHARE, counts=(1, 2), rising=True),
    ),
    "MODEL.RETINANET.IOU_LABELS": Key(
        [0, -1, 1], "background, ignored, object", one_of([0, 1], [0, -1, 1])
    ),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": Key(
        0.25,
        "weight of positives (1 - alpha: of negatives); 0.75 goes with balanced_ce; also one for "
        "each class, or auto: from the data",
        one_of("auto", -1.0) | SHARE | list_of(SHARE),
    ),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": Key(
        2.0, "focusing parameter, at least 0; 0 is balanced cross entropy", between(0, 20)
    ),
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": Key("smooth_l1", "smooth_l1, giou, diou or ciou"),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": Key(
        0.1, "corner of smooth L1; 0 is L1", between(0, 100)
    ),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": Key(
        (1.0, 1.0, 1.0, 1.0),
        "factors of (dx, dy, dw, dh)",
        list_of(between(0.001, 1000), counts=(4,)),
    ),
    "MODEL.RETINANET.SCORE_THRESH_TEST": Key(
        0.05, "detections below are dropped", at_least(0) & below(1)
    ),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": Key(
        1000, "candidates of each level before NMS", between(1, 10**7)
    ),
    "MODEL.RETINANET.NMS_THRESH_TEST": Key(
        0.5, "IoU above which the lower of two boxes of one class goes", SHARE
    ),
    "DATASETS.TRAIN": Key(
        (), "data sets to train on: registered names, or annotations.json@image_folder", NAMES
    ),
    "DATASETS.TEST": Key((), "data sets to evaluate on, likewise", NAMES & different()),
    "INPUT.FORMAT": Key(
        "BGR", "order of channels that the network sees, BGR or RGB", one_of("BGR", "RGB")
    ),
    "INPUT.MIN_SIZE_TRAIN": Key(
        (800,),
        "shorter side in training, pixels; one of these, or between two",
        list_of(whole(SIZES), what="sizes in pixels"),
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Key("choice", "choice or range", one_of("choice", "range")),
    "INPUT.MAX_SIZE_TRAIN": Key(1333, "the longer side in training is at most this", SIZES),
    "INPUT.MIN_SIZE_TEST": Key(
        800, "shorter side at test time; 0 keeps the size", one_of(0) | SIZES
    ),
    "INPUT.MAX_SIZE_TEST": Key(1333, "the longer side at test time is at most this", SIZES),
    "INPUT.RANDOM_FLIP": Key(
        "horizontal",
        "horizontal, vertical or none; half of the images",
        one_of("horizontal", "vertical", "none"),
    ),
    "INPUT.CROP.ENABLED": Key(False, "random crops in training, before resizing"),
    "INPUT.CROP.TYPE": Key(
        "relative_range",
        "relative_range, relative, absolute or absolute_range",
        one_of("relative_range", "relative", "absolute", "absolute_range"),
    ),
    "INPUT.CROP.SIZE": Key(
        [0.9, 0.9],
        "height and width of the crop, in image sizes or pixels; a range starts here",
        list_of(above(0) & at_most(100_000), counts=(2,)),
    ),
    "DATALOADER.NUM_WORKERS": Key(4, "processes that load images", between(0, 1024)),
    "DATALOADER.ASPECT_RATIO_GROUPING": Key(
        True,
        "in training, wide images share batches with wide ones and the others with the others, so "
        "that less is padded",
    ),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": Key(True, "leave images without boxes out of training"),
    "SOLVER.IMS_PER_BATCH": Key(16, "images of a step, over all GPUs", between(1, 100_000)),
    "SOLVER.MAX_ITER": Key(40000, "steps", STEPS),
    "SOLVER.BASE_LR": Key(0.001, "learning rate after warm-up", between(1e-12, 100)),
    "SOLVER.BASE_LR_END": Key(0.0, "where WarmupCosineLR ends", between(0, 100)),
    "SOLVER.LR_SCHEDULER_NAME": Key(
        "WarmupMultiStepLR",
        "WarmupMultiStepLR, WarmupCosineLR or WarmupStepWithFixedGammaLR",
        one_of("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
    ),
    "SOLVER.STEPS": Key(
        (30000,),
        "steps at which WarmupMultiStepLR multiplies by GAMMA",
        list_of(whole(STEPS), rising=True, empty=True) & different(),
    ),
    "SOLVER.GAMMA": Key(0.1, "see STEPS and NUM_DECAYS", between(1e-6, 1)),
    "SOLVER.NUM_DECAYS": Key(
        3,
        "times that WarmupStepWithFixedGammaLR multiplies by GAMMA, at equal distances",
        between(1, 1000),
    ),
    "SOLVER.WARMUP_ITERS": Key(1000, "steps of warm-up", PERIOD),
    "SOLVER.WARMUP_FACTOR": Key(
        1.0 / 1000, "warm-up starts at this share of BASE_LR", between(0, 1)
    ),
    "SOLVER.WARMUP_METHOD": Key("linear", "linear or constant", one_of("linear", "constant")),
    "SOLVER.RESCALE_INTERVAL": Key(
        False, "the schedule starts after warm-up, and its steps move accordingly; else at step 0"
    ),
    "SOLVER.MOMENTUM": Key(0.9, "of SGD", at_least(0) & below(1)),
    "SOLVER.NESTEROV": Key(False, "of SGD"),
    "SOLVER.WEIGHT_DECAY": Key(0.0001, "of weights", DECAY),
    "SOLVER.WEIGHT_DECAY_NORM": Key(0.0, "of normalisation layers", DECAY),
    "SOLVER.WEIGHT_DECAY_BIAS": Key(
        None, "of biases; None follows WEIGHT_DECAY", one_of(None) | DECAY
    ),
    "SOLVER.BIAS_LR_FACTOR": Key(1.0, "learning rate of biases, in BASE_LR", between(0, 100)),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Key(False, "clip the gradient of each parameter"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Key(
        "value", "value, or norm of each parameter", one_of("value", "norm")
    ),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Key(
        1.0, "the largest value, or norm", between(1e-6, 10**6)
    ),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Key(2.0, "which norm", between(1, 100)),
    "SOLVER.AMP.ENABLED": Key(False, "mixed precision"),
    "SOLVER.CHECKPOINT_PERIOD": Key(5000, "steps between checkpoints", STEPS),
    "TEST.EVAL_PERIOD": Key(0, "steps between evaluations; 0: only at the end", PERIOD),
    "TEST.DETECTIONS_PER_IMAGE": Key(100, "detections of an image at most", between(1, 10**6)),
    "OUTPUT_DIR": Key("./output", "where everything is written", text("a folder")),
    "SEED": Key(-1, "of everything random; -1 takes another one each time", SEEDS),
    "CUDNN_BENCHMARK": Key(
        False, "let cuDNN search for the fastest algorithms; useful if all images have one size"
    ),
    "VIS_PERIOD": Key(
        0, "steps between pictures of ground truth and detections in TensorBoard; 0: none", PERIOD
    ),
}

# Keys of version 0.1 -> their names now; files and overrides with the old name still read.
RENAMED = {
    "MODEL.RETINA_PLUGIN.HEAD": "MODEL.RETINA_PLUGIN.HEAD.NAME",
    "MODEL.RETINA_PLUGIN.CLASS_LOSS": "MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME",
    "MODEL.RETINA_PLUGIN.HEAD_WIDTH": "MODEL.RETINA_PLUGIN.HEAD.WIDTH",
    "MODEL.RETINA_PLUGIN.HEAD_ACTIVATION": "MODEL.RETINA_PLUGIN.HEAD.ACTIVATION",
    "MODEL.RETINA_PLUGIN.HEAD_SEPARABLE": "MODEL.RETINA_PLUGIN.HEAD.SEPARABLE",
    "MODEL.RETINA_PLUGIN.HEAD_LEVEL_SCALE": "MODEL.RETINA_PLUGIN.HEAD.LEVEL_SCALE",
}

# Nodes of Detectron2 that RetinaNet never reads, and the key that was probably meant.
NOT_RETINANET = {
    "MODEL.ROI_HEADS.NUM_CLASSES": "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "MODEL.RETINANET.NMS_THRESH_TEST",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
    "MODEL.RPN.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
}
