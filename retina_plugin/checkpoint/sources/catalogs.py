"""Find the URL of weights by their names in timm, torchvision and Detectron2."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.sources.download import Download, require_safe
from retina_plugin.config.registry import nearest_names

# detectron2.utils.file_io.Detectron2Handler
DETECTRON2_URL = "https://dl.fbaipublicfiles.com/detectron2/"
# torch.hub's convention: the name of the file ends with the first digits of its SHA-256.
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
SHA256_FRAGMENT = re.compile(r"sha256=([0-9a-fA-F]{64})")


def timm_download(name: str) -> Download:
    """Find the weights that timm has for a model, such as ``resnet18`` or ``resnet18.a1_in1k``.

    Raises:
        WeightsError: timm is not installed, or has no weights of that name.
    """
    try:
        import timm
        from huggingface_hub import hf_hub_url  # a requirement of timm
    except ImportError as error:
        raise WeightsError(f"it needs timm: pip install 'retina_plugin[timm]' ({error})") from error
    known = timm.list_pretrained()
    if name not in {*known, *(tagged.partition(".")[0] for tagged in known)}:
        raise WeightsError(
            f"timm {timm.__version__} has no weights of that name. {nearest_names(name, known)}"
        )
    cfg = timm.get_pretrained_cfg(name)
    if cfg.hf_hub_id:
        repository, _, revision = cfg.hf_hub_id.partition("@")
        file = cfg.hf_hub_filename or "model.safetensors"
        return Download(hf_hub_url(repository, file, revision=revision or None))
    return _with_hash_in_name(cfg.url)


def torchvision_download(name: str) -> Download:
    """Find the weights of torchvision by the name of a model, such as ``resnet50`` (its default
    weights), or of weights, such as ``ResNet50_Weights.IMAGENET1K_V1``.

    Raises:
        WeightsError: torchvision has no weights of that name.
    """
    from torchvision import models

    try:
        weights = models.get_weight(name) if "." in name else models.get_model_weights(name).DEFAULT
    except (AttributeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"torchvision has no weights of that name. {nearest_names(name, models.list_models())}"
        ) from error
    return _with_hash_in_name(weights.url)


def detectron2_download(path: str) -> Download:
    """Return Detectron2's URL for ``detectron2://PATH``, for example with the path
    ``ImageNetPretrained/MSRA/R-50.pkl``. Detectron2 publishes no checksums."""
    return Download(DETECTRON2_URL + path)


def url_download(url: str) -> Download:
    """Split an address such as ``https://host/model.pth#sha256=...``.

    Raises:
        WeightsError: the address is not https (or http on this machine), or the checksum is missing
            or does not have 64 hexadecimal digits.
    """
    plain, _, fragment = url.partition("#")
    require_safe(plain, loopback=True)
    found = SHA256_FRAGMENT.fullmatch(fragment)
    if not found:
        raise WeightsError(
            "expected a checksum at the end of the address, #sha256= and 64 hexadecimal digits, "
            f"found {'#' + fragment if fragment else 'none'}. The command sha256sum FILE prints "
            "it; or download the file yourself and give its path."
        )
    return Download(plain, found[1].lower())


def _with_hash_in_name(url: str) -> Download:
    found = HASH_IN_NAME.search(urlsplit(url).path)
    return Download(url, found[1] if found else "")
