"""Transforms of training samples: crop, resize, flip, and parts from outside.

Randomness comes from the generator that is passed in, so a sample depends on the seed and its place
in the run and on nothing else.
"""

from retina_plugin.data.transforms.chain import TransformChain
from retina_plugin.data.transforms.crop import RandomCrop
from retina_plugin.data.transforms.flip import RandomFlip
from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.resize import ResizeShortestEdge
from retina_plugin.data.transforms.sample import Draw, Sample, Transform

__all__ = [
    "TRANSFORMS",
    "Draw",
    "RandomCrop",
    "RandomFlip",
    "ResizeShortestEdge",
    "Sample",
    "Transform",
    "TransformChain",
]
