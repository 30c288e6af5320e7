"""Transforms of training samples: this package's and those that users register.

All random numbers come from the generator that is passed in. Therefore a sample depends only on the
seed and its position in the run.
"""

from retina_plugin.data.transforms.blur import GaussianBlur
from retina_plugin.data.transforms.chain import TransformChain
from retina_plugin.data.transforms.crop import RandomCrop
from retina_plugin.data.transforms.erasing import RandomErasing
from retina_plugin.data.transforms.flip import RandomFlip
from retina_plugin.data.transforms.iou_crop import RandomIoUCrop
from retina_plugin.data.transforms.jpeg import JPEG
from retina_plugin.data.transforms.mixup import MixUp
from retina_plugin.data.transforms.mosaic import Mosaic
from retina_plugin.data.transforms.photometric import RandomPhotometricDistort
from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.resize import ResizeShortestEdge
from retina_plugin.data.transforms.sample import Draw, Sample, Transform
from retina_plugin.data.transforms.scale_jitter import ScaleJitter
from retina_plugin.data.transforms.slice import RandomSlice
from retina_plugin.data.transforms.turn import RandomQuarterTurn
from retina_plugin.data.transforms.zoom_out import RandomZoomOut

__all__ = [
    "JPEG",
    "TRANSFORMS",
    "Draw",
    "GaussianBlur",
    "MixUp",
    "Mosaic",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomIoUCrop",
    "RandomPhotometricDistort",
    "RandomQuarterTurn",
    "RandomSlice",
    "RandomZoomOut",
    "ResizeShortestEdge",
    "Sample",
    "ScaleJitter",
    "Transform",
    "TransformChain",
]
