"""Metadata only; importing torch here would break isolated builds."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r"__version__ = "
    r'"(.+?)"',
    (HERE / "retina_plugin/__init__.py").read_text(encoding="utf-8"),
).group(1)

setup(
    name="retina_plugin",
    version=VERSION,
    description="RetinaNet with focal loss as a Detectron2 plugin, and on Lightning where "
    "Detectron2 is not installed",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["retina_plugin", "retina_plugin.*"]),
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.2",
        "torchvision>=0.17",  # of the same release as torch
        "lightning>=2.2,<3",
        "fvcore>=0.1.5,<0.1.6",
        "pycocotools>=2.0.7",
        "numpy>=1.24",
        "pillow>=9.4",
        "pyyaml>=6",
        "opencv-python-headless>=4.7",
        "matplotlib>=3.6",
        "scikit-learn>=1.2",  # carries the handwritten digits
        "tensorboard>=2.12",
        "tqdm>=4.60",
    ],
    extras_require={
        "timm": ["timm>=1.0"],
        "fast-eval": [
            "faster-coco-eval>=1.6"
        ],  # COCO metrics several times faster than pycocotools, with the same numbers
        "test": ["timm>=1.0", "pytest>=7.4", "hypothesis>=6.80", "ruff>=0.6"],
    },
)
