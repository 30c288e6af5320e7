"""Addresses of weights, which ``MODEL.WEIGHTS`` accepts besides paths of files.

Nothing is downloaded unless ``MODEL.WEIGHTS`` is one of these addresses. ``package://`` never uses
the network.
"""

from __future__ import annotations

from collections.abc import Callable

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.sources import catalogs
from retina_plugin.checkpoint.sources.cache import cached_download
from retina_plugin.checkpoint.sources.download import Download
from retina_plugin.checkpoint.sources.packages import PACKAGES, package_file

# Scheme -> function that takes the rest of the address and returns the URL and checksum to use.
DOWNLOADS: dict[str, Callable[[str], Download]] = {
    "timm": catalogs.timm_download,
    "torchvision": catalogs.torchvision_download,
    "detectron2": catalogs.detectron2_download,
    "https": lambda rest: catalogs.url_download(f"https://{rest}"),
    "http": lambda rest: catalogs.url_download(f"http://{rest}"),
}
SCHEMES = ("package", *DOWNLOADS)
EXAMPLES = (
    f"package://{next(iter(PACKAGES))}",
    "timm://NAME",
    "torchvision://NAME",
    "detectron2://PATH",
    "https://...#sha256=...",
)


def is_address(path: str) -> bool:
    """Return whether a value of ``MODEL.WEIGHTS`` is an address, and not the path of a file."""
    return "://" in path


def fetch(address: str) -> str:
    """Return the path of the file of an address. A missing file is downloaded into the cache.

    Raises:
        WeightsError: the address is of an unknown kind, its package is missing, or the file cannot
            be downloaded or has another checksum than expected.
        DiskError: the file cannot be written to the cache.
    """
    try:
        return _fetch(*address.split("://", 1))
    except WeightsError as error:
        raise WeightsError(f"MODEL.WEIGHTS {address}: {error}") from error


def _fetch(scheme: str, rest: str) -> str:
    if scheme == "package":
        return package_file(rest)
    if scheme not in DOWNLOADS:
        raise WeightsError(
            f"expected the path of a file, or an address such as {', '.join(EXAMPLES)}"
        )
    return cached_download(DOWNLOADS[scheme](rest))
