"""Transforms of training samples: crop, resize, flip, and those that users register.

All random numbers come from the generator that is passed in. Therefore a sample depends only on the
seed and its position in the run.
"""

from retina_plugin.data.transforms.chain import TransformChain
from retina_plugin.data.transforms.crop import RandomCrop
from retina_plugin.data.transforms.flip import RandomFlip
from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.resize import ResizeShortestEdge
from retina_plugin.data.transforms.sample import Draw, Sample, Transform
from retina_plugin.data.transforms.slice import RandomSlice

__all__ = [
    "TRANSFORMS",
    "Draw",
    "RandomCrop",
    "RandomFlip",
    "RandomSlice",
    "ResizeShortestEdge",
    "Sample",
    "Transform",
    "TransformChain",
]
