"""All config keys with their defaults, meanings and rules.

Keys of Detectron2 keep its names, meanings and defaults. New keys are under
``MODEL.RETINA_PLUGIN``. Plugins add the keys of their parts, see
:class:`retina_plugin.config.registry.Registry`.
"""

from __future__ import annotations

import re
from numbers import Integral

from retina_plugin.config.key import Key
from retina_plugin.config.keys_assignment import ASSIGNMENT_KEYS
from retina_plugin.config.keys_augmentation import AUGMENTATION_KEYS
from retina_plugin.config.keys_inference import INFERENCE_KEYS
from retina_plugin.config.keys_tracking import TRACKING_KEYS
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
MINUTES = f"{NODE}.SOLVER.MINUTES"

DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d{1,4}))?")
CHANNELS = between(1, 65_536)
IMAGE_SIDE = between(1, 100_000)  # height or width of an image
INPUT_SIDE = between(8, 100_000)  # height or width of the network's input; P3 has stride 8
STAGES = list_of(text("of stages"), what="names", empty=True)
STEPS = between(1, 10**9)
STEPS_OR_ZERO = between(0, 10**9)
FRACTION = between(0, 1)
OPEN_FRACTION = above(0) & below(1)
PROBABILITY = between(1e-6, 1 - 1e-6)  # closer to 0 or 1, training in float32 makes no progress
DECAY = between(0, 1)
DATA_SETS = list_of(text("that are text"), what="names or paths,", empty=True)
SEEDS = Rule(
    lambda v: isinstance(v, Integral) and -(2**63) <= int(v) < 2**32,
    "below 2^32; a negative number draws a new seed for each run",
)
CLASS_PATHS = list_of(
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
MIN_DISTANCE = Rule(
    lambda v: v[1] - v[0] >= max(1e-30, 1e-12 * max(map(abs, v))),
    "at least 1e-30, and 1e-12 of the larger number, apart",
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
        [], "Python modules to import first; they can register your own data sets and parts"
    ),
    f"{NODE}.HEAD.NAME": Key("RetinaHead", "name of the head in RETINA_HEAD_REGISTRY"),
    f"{NODE}.HEAD.WIDTH": Key(
        0, "channels of the head's convolutions; 0 uses FPN.OUT_CHANNELS", between(0, 65_536)
    ),
    f"{NODE}.HEAD.ACTIVATION": Key(
        "relu", "activation of the head: none, relu, leaky_relu, silu, gelu or hardswish"
    ),
    f"{NODE}.HEAD.SEPARABLE": Key(
        False, "use depthwise separable convolutions in the head, except for the predictions"
    ),
    f"{NODE}.HEAD.LEVEL_SCALE": Key(
        False, "multiply the box deltas of each level by a learnt factor"
    ),
    f"{NODE}.HEAD.QUALITY": Key(
        "none",
        "target of an additional output of the head that predicts the quality of a box; scores are "
        "multiplied by it. none (no such output), iou (the IoU of the predicted box with its "
        "object) or centerness (how central the anchor lies in its box, as in ATSS)",
        one_of("none", "iou", "centerness"),
    ),
    **{f"{NODE}.{name}": key for name, key in ASSIGNMENT_KEYS.items()},
    f"{NODE}.SUPPRESSOR.NAME": Key(
        "NMS",
        "suppressor: NMS (within each class), ClassAgnosticNMS, SoftNMS or another name in "
        "SUPPRESSORS",
    ),
    **{f"{NODE}.{name}": key for name, key in INFERENCE_KEYS.items()},
    f"{NODE}.TEST.REPORT": Key(
        True,
        "write report.html at the end of a training run; retina report writes it at any time",
    ),
    f"{NODE}.NORM_GROUPS": Key(
        32, "number of groups of every GN layer; must divide the number of channels", CHANNELS
    ),
    f"{NODE}.P6_FROM": Key("res5", "input of P6: res5 (C5, as in the paper) or p5"),
    f"{NODE}.NECK.LEVELS": Key(
        5,
        "number of pyramid levels, from the first of FPN.IN_FEATURES on: 5 gives P3 to P7",
        between(1, 8),
    ),
    f"{NODE}.NECK.ACTIVATION": Key(
        "paper",
        "activation in the pyramid: none, relu, leaky_relu, silu, gelu, hardswish, or paper (none "
        "in FPN, relu in PAFPN, silu in BiFPN)",
    ),
    f"{NODE}.NECK.EXTRA_RELU": Key(
        True, "apply a ReLU to P6 before the convolution to P7; MMDetection's models have none"
    ),
    f"{NODE}.NECK.REPEATS": Key(3, "number of BiFPN layers", between(1, 100)),
    f"{NODE}.RESNETS.DEEP_STEM": Key(
        False,
        "use three 3x3 convolutions in the stem instead of one 7x7, as in ResNet-D and DeepLab",
    ),
    f"{NODE}.RESNETS.AVG_POOL_SHORTCUT": Key(
        False, "in shortcuts of stride 2, average cells before the 1x1 convolution, as in ResNet-D"
    ),
    f"{NODE}.RESNETS.WEIGHT_STANDARDIZATION": Key(
        False, "normalise kernels to mean 0 and variance 1; for training with GN from scratch"
    ),
    f"{NODE}.RESNETS.ZERO_INIT": Key(
        False, "initialise blocks to compute only their shortcut; for training from scratch"
    ),
    f"{NODE}.TIMM.NAME": Key(
        "", "name of the timm model for build_retina_timm_* backbones; see timm.list_models()"
    ),
    f"{NODE}.TIMM.DROP_PATH": Key(0.0, "maximum rate of stochastic depth", at_least(0) & below(1)),
    f"{NODE}.TIMM.FREEZE_NORMS": Key(
        False,
        "freeze the statistics and parameters of all batch norms of the timm model",
    ),
    f"{NODE}.INFERENCE_DTYPE": Key(
        "float32", "data type for detection: float32, or bfloat16 / float16 (faster, less precise)"
    ),
    f"{NODE}.CLASS_LOSS.NAME": Key(
        "focal",
        "class loss: ce, balanced_ce, focal, focal_star, quality_focal, varifocal (the last two "
        "with soft targets, the IoU of the predicted box) or another name in CLASS_LOSSES",
    ),
    f"{NODE}.AUTO_ALPHA_BASE": Key(
        0.25,
        "mean of the class weights that FOCAL_LOSS_ALPHA auto computes; use 0.75 with balanced_ce",
        OPEN_FRACTION,
    ),
    f"{NODE}.AUTO_ALPHA_POWER": Key(
        0.5,
        "how much FOCAL_LOSS_ALPHA auto favours rare classes: with 0, all weights are equal; with "
        "1, they are inversely proportional to the number of boxes",
        between(0, 4),
    ),
    f"{NODE}.AUTO_ALPHA_CLIP": Key(
        [0.01, 0.99],
        "smallest and largest class weight of FOCAL_LOSS_ALPHA auto",
        list_of(OPEN_FRACTION, counts=(2,), rising=True),
    ),
    f"{NODE}.AUTO_PRIOR_BASE": Key(
        0.01,
        "mean over the classes of the scores that PRIOR_PROB auto computes",
        between(1e-4, 1 - 1e-6),  # rare classes get at least a hundredth of it
    ),
    f"{NODE}.FINE_TUNE": Key(
        False,
        "if MODEL.WEIGHTS has another number of classes, initialise the class prediction layer",
    ),
    f"{NODE}.DATASETS.BOX_COORDINATES": Key(
        "",
        "format of the boxes in annotation files: xywh, xyxy or cxcywh; pixels or fraction (of the "
        "image size); upright or stored (for photographs with an EXIF rotation). If a word is left "
        "out, COCO's format is assumed and checked",
        BOX_COORDINATES,
    ),
    f"{NODE}.DATASETS.VOC_OFFSET": Key(
        "minima",
        "corners of Pascal VOC files from which 1 is subtracted, because the format counts pixels "
        "from 1: minima (xmin and ymin, as Detectron2), all (as MMDetection) or none (for tools "
        "that count from 0)",
        one_of("minima", "all", "none"),
    ),
    f"{NODE}.DATASETS.VALIDATION": Key(
        (),
        "data sets that are evaluated during training to choose the best model; DATASETS.TEST is "
        "then evaluated only at the end. If empty, DATASETS.TEST is evaluated during training",
        DATA_SETS & different(),
    ),
    f"{NODE}.OPTIMIZER": Key("SGD", "SGD (with SOLVER.MOMENTUM) or AdamW", one_of("SGD", "AdamW")),
    f"{NODE}.SOLVER.BACKBONE_LR_FACTOR": Key(
        1.0,
        "learning rate of the backbone (without the pyramid) as a multiple of the other "
        "parameters' rate; to freeze the backbone use MODEL.BACKBONE.FREEZE_AT",
        between(1e-6, 100),
    ),
    f"{NODE}.SOLVER.LAYER_DECAY": Key(
        1.0,
        "learning rate of each stage of the backbone as a multiple of the next stage's rate; "
        "BACKBONE_LR_FACTOR is the multiple for the last stage",
        between(0.01, 1),
    ),
    f"{NODE}.SOLVER.BEST_METRIC": Key(
        "bbox/AP",
        "metric that chooses model_best.pth: a name in metrics.json, such as bbox/AP50; the "
        "highest value is the best, or the lowest for losses",
        text("the name of a metric"),
    ),
    f"{NODE}.SOLVER.PATIENCE": Key(
        0, "training stops after this many evaluations without a new best; 0: never", STEPS_OR_ZERO
    ),
    f"{NODE}.SOLVER.KEEP": Key(
        0, "number of periodic checkpoints to keep, the newest ones; 0: all", STEPS_OR_ZERO
    ),
    f"{NODE}.SOLVER.EMA": Key(
        False,
        "average the weights over the last 5% of the steps (exponentially); evaluations and saved "
        "models use the average",
    ),
    MINUTES: Key(
        0.0,
        "time budget: the minutes from the start of the command to its end, evaluations included; "
        "SOLVER.MAX_ITER is then only the first guess of the number of steps. 0: no budget",
        between(0, 144_000),
    ),
    f"{NODE}.INPUT.PIXEL_RANGE": Key(
        "auto",
        "for images with more than 8 bits or floats: the two values that become 0 and 255, or auto "
        "(percentiles of the training set)",
        one_of("auto")
        | list_of(between(-(10**12), 10**12), counts=(2,), rising=True) & MIN_DISTANCE,
    ),
    f"{NODE}.INPUT.MAX_PIXELS": Key(
        178_956_970, "largest width x height of an image file", between(1, 10**10)
    ),
    f"{NODE}.INPUT.TRANSFORMS": Key(
        ["RandomCrop", "ResizeShortestEdge", "RandomFlip"],
        "transforms of training samples in order, as names in TRANSFORMS; the defaults read "
        "INPUT.CROP, the sizes and INPUT.RANDOM_FLIP",
        list_of(text("that are text"), what="names", empty=True),
    ),
    **{f"{NODE}.INPUT.{name}": key for name, key in AUGMENTATION_KEYS.items()},
    **{f"{NODE}.{name}": key for name, key in TRACKING_KEYS.items()},
    f"{NODE}.LIGHTNING.CALLBACKS": Key(
        [],
        "additional callbacks for Lightning's trainer, each {class_path: ..., init_args: {...}}",
        CLASS_PATHS,
    ),
    f"{NODE}.LIGHTNING.LOGGERS": Key(
        [],
        "additional loggers for Lightning's trainer, such as CSVLogger, in the same form; W&B and "
        "MLflow have TRACKING",
        CLASS_PATHS,
    ),
}

DETECTRON2_KEYS: dict[str, Key] = {
    "VERSION": Key(2, "version of the config format", one_of(2)),
    "MODEL.META_ARCHITECTURE": Key(
        "GeneralizedRCNN", "name of the detector; FocalRetinaNet is this project's"
    ),
    "MODEL.DEVICE": Key(
        "cuda",
        "cuda or cpu; without a GPU, cuda becomes cpu with a warning",
        Rule(lambda v: DEVICE.fullmatch(v) is not None, "cuda, cuda:0, ... or cpu"),
    ),
    "MODEL.WEIGHTS": Key(
        "", "checkpoint to evaluate, or detector or backbone to start training from; see weights.md"
    ),
    "MODEL.PIXEL_MEAN": Key(
        [103.530, 116.280, 123.675],
        "mean of each channel, 0..255, in the order of INPUT.FORMAT; it is subtracted",
        list_of(between(0, 255), counts=(3,)),
    ),
    "MODEL.PIXEL_STD": Key(
        [1.0, 1.0, 1.0],
        "standard deviation of each channel; the channel is divided by it",
        list_of(between(0.001, 1000), counts=(3,)),
    ),
    "MODEL.BACKBONE.NAME": Key(
        "build_resnet_backbone", "name of the function that builds backbone and neck"
    ),
    "MODEL.BACKBONE.FREEZE_AT": Key(
        2,
        "number of frozen stages from the stem on: 0 none, 1 stem, 2 stem and res2, ...",
        between(0, 10),
    ),
    "MODEL.RESNETS.DEPTH": Key(
        50, "depth of the ResNet: 18, 34, 50, 101 or 152", one_of(18, 34, 50, 101, 152)
    ),
    "MODEL.RESNETS.OUT_FEATURES": Key(["res4"], "stages that the backbone returns", STAGES),
    "MODEL.RESNETS.NUM_GROUPS": Key(1, "groups of the 3x3 convolution of a bottleneck", CHANNELS),
    "MODEL.RESNETS.NORM": Key(
        "FrozenBN", "norm of the ResNet: FrozenBN, BN, SyncBN, GN or '' for none"
    ),
    "MODEL.RESNETS.WIDTH_PER_GROUP": Key(
        64, "inner channels of a bottleneck in res2, for each group", CHANNELS
    ),
    "MODEL.RESNETS.STRIDE_IN_1X1": Key(
        True, "put a bottleneck's stride into the first 1x1 convolution (MSRA weights), not the 3x3"
    ),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": Key(
        256,
        "output channels of res2, doubled by each later stage; use 64 for depths 18 and 34",
        CHANNELS,
    ),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": Key(64, "channels of the stem", CHANNELS),
    "MODEL.FPN.IN_FEATURES": Key([], "stages that are inputs of the pyramid, finest first", STAGES),
    "MODEL.FPN.OUT_CHANNELS": Key(256, "channels of the pyramid and of the head", CHANNELS),
    "MODEL.FPN.NORM": Key("", "norm of the pyramid's convolutions; '' for none"),
    "MODEL.ANCHOR_GENERATOR.SIZES": Key(
        [[32, 64, 128, 256, 512]],
        "anchor sizes (square roots of areas) in pixels of the resized image, one list per level",
        by_level(between(1, 100_000)),
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Key(
        [[0.5, 1.0, 2.0]], "height / width of the anchors", by_level(between(0.001, 1000))
    ),
    "MODEL.ANCHOR_GENERATOR.OFFSET": Key(
        0.0, "centre of the first anchor, in strides", at_least(0) & below(1)
    ),
    "MODEL.RETINANET.NUM_CLASSES": Key(
        80,
        "number of classes without background; -1 takes it from the training set",
        one_of(-1) | between(1, 100_000),
    ),
    "MODEL.RETINANET.IN_FEATURES": Key(
        ["p3", "p4", "p5", "p6", "p7"],
        "pyramid levels that the head uses",
        list_of(text("of levels"), what="names") & different(),
    ),
    "MODEL.RETINANET.NUM_CONVS": Key(4, "convolutions in each subnet of the head", between(0, 100)),
    "MODEL.RETINANET.NORM": Key(
        "",
        "norm of the head: '' for none, GN, or BN / SyncBN with statistics for each level",
    ),
    "MODEL.RETINANET.PRIOR_PROB": Key(
        0.01,
        "class score of every anchor before training; also a list with one for each class, or auto "
        "(computed from the training set)",
        one_of("auto") | PROBABILITY | list_of(PROBABILITY),
    ),
    "MODEL.RETINANET.IOU_THRESHOLDS": Key(
        [0.4, 0.5],
        "IoU thresholds: background below the first, object from the second on",
        list_of(FRACTION, counts=(1, 2), rising=True),
    ),
    "MODEL.RETINANET.IOU_LABELS": Key(
        [0, -1, 1],
        "labels below, between and above the thresholds: 0 background, -1 ignored, 1 object",
        one_of([0, 1], [0, -1, 1]),
    ),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": Key(
        0.25,
        "weight of positives (negatives have 1 - alpha); use 0.75 with balanced_ce; also a list "
        "with one for each class, or auto (computed from the training set). ce and quality_focal "
        "have no weights; varifocal weights only negatives",
        one_of("auto", -1.0) | FRACTION | list_of(FRACTION),
    ),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": Key(
        2.0, "focusing parameter, at least 0; 0 is balanced cross entropy", between(0, 20)
    ),
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": Key(
        "smooth_l1", "box loss: smooth_l1, giou, diou or ciou"
    ),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": Key(
        0.1, "beta of smooth L1, where it turns from quadratic to linear; 0 is L1", between(0, 100)
    ),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": Key(
        (1.0, 1.0, 1.0, 1.0),
        "factors of the box deltas (dx, dy, dw, dh)",
        list_of(between(0.001, 1000), counts=(4,)),
    ),
    "MODEL.RETINANET.SCORE_THRESH_TEST": Key(
        0.05, "detections with a lower score are dropped", at_least(0) & below(1)
    ),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": Key(
        1000, "largest number of candidates per level before NMS", between(1, 10**7)
    ),
    "MODEL.RETINANET.NMS_THRESH_TEST": Key(
        0.5, "IoU above which NMS removes the lower-scored of two boxes of one class", FRACTION
    ),
    "DATASETS.TRAIN": Key(
        (),
        "data sets to train on: folders, annotation files, PATH:SPLIT, FILE@IMAGE_FOLDER or "
        "registered names",
        DATA_SETS,
    ),
    "DATASETS.TEST": Key((), "data sets to evaluate on, in the same form", DATA_SETS & different()),
    "INPUT.FORMAT": Key(
        "BGR", "channel order of the network's input, BGR or RGB", one_of("BGR", "RGB")
    ),
    "INPUT.MIN_SIZE_TRAIN": Key(
        (800,),
        "shorter side in training, in pixels: one of these sizes, or any size between two",
        list_of(whole(INPUT_SIDE), what="sizes in pixels"),
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Key(
        "choice",
        "choice: one of MIN_SIZE_TRAIN; range: any size between its two values",
        one_of("choice", "range"),
    ),
    "INPUT.MAX_SIZE_TRAIN": Key(
        1333, "limit of the longer side in training, in pixels", INPUT_SIDE
    ),
    "INPUT.MIN_SIZE_TEST": Key(
        800, "shorter side at test time, in pixels; 0 keeps the image size", one_of(0) | INPUT_SIDE
    ),
    "INPUT.MAX_SIZE_TEST": Key(
        1333, "limit of the longer side at test time, in pixels", INPUT_SIDE
    ),
    "INPUT.RANDOM_FLIP": Key(
        "horizontal",
        "random flips of half of the training images: horizontal, vertical or none",
        one_of("horizontal", "vertical", "none"),
    ),
    "INPUT.CROP.ENABLED": Key(False, "crop training images randomly before resizing"),
    "INPUT.CROP.TYPE": Key(
        "relative_range",
        "unit of CROP.SIZE: relative_range, relative, absolute or absolute_range",
        one_of("relative_range", "relative", "absolute", "absolute_range"),
    ),
    "INPUT.CROP.SIZE": Key(
        [0.9, 0.9],
        "height and width of the crop, in fractions of the image or pixels; relative_range: the "
        "smallest fractions; absolute_range: the smallest and the largest side",
        list_of(above(0) & at_most(100_000), counts=(2,)),
    ),
    "DATALOADER.NUM_WORKERS": Key(4, "number of processes that load images", between(0, 1024)),
    "DATALOADER.ASPECT_RATIO_GROUPING": Key(
        True,
        "put wide training images and other images into separate batches, which need less padding",
    ),
    "DATALOADER.SAMPLER_TRAIN": Key(
        "TrainingSampler",
        "order of the training images: TrainingSampler (each once in an epoch), "
        "RepeatFactorTrainingSampler (images of rare classes are repeated) or this project's "
        "ClassAwareSampler (all classes are equally frequent)",
        one_of("TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareSampler"),
    ),
    "DATALOADER.REPEAT_THRESHOLD": Key(
        0.0,
        "for RepeatFactorTrainingSampler: if a class is in a share f of the images and f is below "
        "this threshold, its images are repeated sqrt(REPEAT_THRESHOLD / f) times",
        FRACTION,
    ),
    "DATALOADER.REPEAT_SQRT": Key(
        True, "for RepeatFactorTrainingSampler: False repeats REPEAT_THRESHOLD / f times instead"
    ),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": Key(True, "leave out images without boxes in training"),
    "SOLVER.IMS_PER_BATCH": Key(16, "batch size over all GPUs", between(1, 100_000)),
    "SOLVER.MAX_ITER": Key(40000, "number of training steps", STEPS),
    "SOLVER.BASE_LR": Key(0.001, "learning rate after warm-up", between(1e-12, 100)),
    "SOLVER.BASE_LR_END": Key(0.0, "final learning rate of WarmupCosineLR", between(0, 100)),
    "SOLVER.LR_SCHEDULER_NAME": Key(
        "WarmupMultiStepLR",
        "schedule: WarmupMultiStepLR, WarmupCosineLR or WarmupStepWithFixedGammaLR",
        one_of("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
    ),
    "SOLVER.STEPS": Key(
        (30000,),
        "steps at which WarmupMultiStepLR multiplies the learning rate by GAMMA",
        list_of(whole(STEPS), rising=True, empty=True) & different(),
    ),
    "SOLVER.GAMMA": Key(
        0.1, "factor of the learning rate, see STEPS and NUM_DECAYS", between(1e-6, 1)
    ),
    "SOLVER.NUM_DECAYS": Key(
        3,
        "how often WarmupStepWithFixedGammaLR multiplies the learning rate by GAMMA",
        between(1, 1000),
    ),
    "SOLVER.WARMUP_ITERS": Key(1000, "number of warm-up steps", STEPS_OR_ZERO),
    "SOLVER.WARMUP_FACTOR": Key(
        1.0 / 1000, "warm-up starts at this fraction of BASE_LR", between(0, 1)
    ),
    "SOLVER.WARMUP_METHOD": Key(
        "linear", "warm-up: linear or constant", one_of("linear", "constant")
    ),
    "SOLVER.RESCALE_INTERVAL": Key(
        False,
        "True starts the schedule after warm-up and rescales its steps; False starts it at step 0",
    ),
    "SOLVER.MOMENTUM": Key(0.9, "momentum of SGD", at_least(0) & below(1)),
    "SOLVER.NESTEROV": Key(False, "use Nesterov momentum in SGD"),
    "SOLVER.WEIGHT_DECAY": Key(0.0001, "weight decay of weights", DECAY),
    "SOLVER.WEIGHT_DECAY_NORM": Key(0.0, "weight decay of normalisation layers", DECAY),
    "SOLVER.WEIGHT_DECAY_BIAS": Key(
        None, "weight decay of biases; None uses WEIGHT_DECAY", one_of(None) | DECAY
    ),
    "SOLVER.BIAS_LR_FACTOR": Key(
        1.0, "learning rate of biases as a multiple of BASE_LR", between(0, 100)
    ),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Key(False, "clip the gradient of each parameter"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Key(
        "value",
        "value (of each element) or norm (of each parameter's gradient)",
        one_of("value", "norm"),
    ),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Key(1.0, "largest value or norm", between(1e-6, 10**6)),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Key(
        2.0, "p of the p-norm for CLIP_TYPE norm", between(1, 100)
    ),
    "SOLVER.AMP.ENABLED": Key(False, "train with mixed precision"),
    "SOLVER.CHECKPOINT_PERIOD": Key(5000, "steps between checkpoints", STEPS),
    "TEST.EVAL_PERIOD": Key(
        0, "steps between evaluations; 0 evaluates only at the end", STEPS_OR_ZERO
    ),
    "TEST.AUG.ENABLED": Key(
        False,
        "test-time augmentation: detect in versions of the image of several sizes, and mirrored",
    ),
    "TEST.AUG.MIN_SIZES": Key(
        (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
        "shorter side of each version, in pixels; INPUT.MIN_SIZE_TEST is one only if it is listed",
        list_of(whole(INPUT_SIDE), what="sizes in pixels") & different(),
    ),
    "TEST.AUG.MAX_SIZE": Key(4000, "limit of the longer side of the versions", INPUT_SIDE),
    "TEST.AUG.FLIP": Key(True, "also detect in the mirrored version of each size"),
    "TEST.DETECTIONS_PER_IMAGE": Key(
        100, "largest number of detections per image", between(1, 10**6)
    ),
    "OUTPUT_DIR": Key("./output", "folder of the run's output", text("a folder")),
    "SEED": Key(-1, "random seed; -1 draws a new one for each run", SEEDS),
    "CUDNN_BENCHMARK": Key(
        False, "let cuDNN search for the fastest algorithms; useful if all images have one size"
    ),
    "VIS_PERIOD": Key(
        0,
        "steps between images of ground truth and detections in TensorBoard; 0: none",
        STEPS_OR_ZERO,
    ),
}

# Keys of version 0.1 -> their new names. Files and overrides with the old names can still be read.
RENAMED = {
    "MODEL.RETINA_PLUGIN.HEAD": "MODEL.RETINA_PLUGIN.HEAD.NAME",
    "MODEL.RETINA_PLUGIN.CLASS_LOSS": "MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME",
    "MODEL.RETINA_PLUGIN.HEAD_WIDTH": "MODEL.RETINA_PLUGIN.HEAD.WIDTH",
    "MODEL.RETINA_PLUGIN.HEAD_ACTIVATION": "MODEL.RETINA_PLUGIN.HEAD.ACTIVATION",
    "MODEL.RETINA_PLUGIN.HEAD_SEPARABLE": "MODEL.RETINA_PLUGIN.HEAD.SEPARABLE",
    "MODEL.RETINA_PLUGIN.HEAD_LEVEL_SCALE": "MODEL.RETINA_PLUGIN.HEAD.LEVEL_SCALE",
}

# Keys of Detectron2 that RetinaNet does not use -> the key that was probably meant.
NOT_RETINANET = {
    "MODEL.ROI_HEADS.NUM_CLASSES": "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "MODEL.RETINANET.NMS_THRESH_TEST",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
    "MODEL.RPN.IOU_THRESHOLDS": "MODEL.RETINANET.IOU_THRESHOLDS",
}
