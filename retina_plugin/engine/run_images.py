"""Check the images of a run before it starts, and set their pixel range; for both hosts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retina_plugin.checkpoint import metadata_of, read_checkpoint
from retina_plugin.config import MULTI_TYPE_KEYS
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import NODE
from retina_plugin.data import evaluated_sets, final_sets
from retina_plugin.data.check_images import check_images
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import INPUT, Header, read_header
from retina_plugin.data.images import missing_range_message
from retina_plugin.data.pixel_range import measure_pixel_range
from retina_plugin.engine.checkpoints import has_checkpoint
from retina_plugin.engine.host import Host, Records, Request
from retina_plugin.engine.resume import load_run_config

KEY = f"{INPUT}.PIXEL_RANGE"


def prepare_images(
    cfg: Any,
    request: Request,
    host: Host,
    records_of: Callable[[str], Records],
    *,
    show: bool = True,
) -> str:
    """Read the headers of all images of a run, and replace ``PIXEL_RANGE: auto`` by numbers.

    Only images with more than 8 bits or floats need a range. A resumed run takes it from its
    ``config.yaml``, an evaluation from its checkpoint, a new run from its training images. If no
    image needs a range, the key stays auto and no pixels are decoded.

    Args:
        cfg: a config that is not frozen.
        request: the flags of the run; with ``eval_only`` the training sets are not read.
        host: the host of the run.
        records_of: returns the records of a data set, given its name.
        show: whether to show progress on standard error.

    Returns:
        Lines to print: the number of images, the range and its source, and a slice size that is
        too large.

    Raises:
        DatasetError: some files cannot be used (the message has their number), or images need a
            range and none is found.
        ConfigError: in a new run, slices are not smaller than any image.
    """
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    train = (
        []
        if request.eval_only
        else [record for name in cfg.DATASETS.TRAIN for record in records_of(name)]
    )
    evaluated = final_sets(cfg) if request.eval_only else evaluated_sets(cfg)
    test = [record for name in evaluated for record in records_of(name)]
    started = time.perf_counter()
    headers = check_images([*train, *test], max_pixels=node.MAX_PIXELS, show=show)
    lines = [
        f"images: {len(headers)} headers read in {time.perf_counter() - started:.1f} s; sizes and "
        "kinds agree with the annotations, and no JPEG or PNG file is cut off"
    ]
    lines += _check_slices(cfg, request, headers)
    lines += _resolve_pixel_range(cfg, request, host, headers, headers[: len(train)])
    return "\n".join(lines)


def _check_slices(cfg: Any, request: Request, headers: Sequence[Header]) -> list[str]:
    """Check that slices are smaller than the largest image, if the config cuts images.

    A new training run is refused. An evaluation and a resumed run use whole images and say so.
    """
    size = cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE
    longest = max((max(header.width, header.height) for header in headers), default=size)
    if longest > size or not headers:
        return []
    message = (
        f"{NODE}.TEST.SLICE.SIZE is {size}, and no image has a longer side (at most {longest} "
        "pixels), so no image is cut into slices: set a smaller size, or 0 for whole images"
    )
    if not (request.eval_only or request.resume):
        raise ConfigError(message)
    return [message]


def _resolve_pixel_range(
    cfg: Any,
    request: Request,
    host: Host,
    headers: Sequence[Header],
    train: Sequence[Header],
) -> list[str]:
    """Set ``PIXEL_RANGE`` if it is auto and an image needs it; return lines to print."""
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    needing = [header for header in headers if header.pixels.needs_range]
    if not needing:
        return []
    share = f"for {len(needing)} of {len(headers)} images, which have more than 8 bits or floats"
    if node.PIXEL_RANGE != "auto":
        return [f"pixel range: {list(node.PIXEL_RANGE)} {share}"]
    source = cfg.MODEL.WEIGHTS
    if request.resume and has_checkpoint(cfg.OUTPUT_DIR):
        source, run_cfg = "the run's config.yaml", load_run_config(cfg.OUTPUT_DIR, host.get_cfg)
        node.PIXEL_RANGE = (
            "auto" if run_cfg is None else run_cfg.MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE
        )
    elif request.eval_only and source:
        set_pixel_range_from_metadata(
            cfg, metadata_of(read_checkpoint(host.weights_file(source))), source
        )
    if node.PIXEL_RANGE != "auto":
        return [f"pixel range: {node.PIXEL_RANGE} of {source} {share}"]
    if not any(header.pixels.needs_range for header in train):
        cause = "the checkpoint has none" if request.eval_only else "no training image needs one"
        raise DatasetError(
            f"{len(needing)} of {len(headers)} images need a range of pixel values, but {KEY} is "
            f"auto, and {cause}. First: {missing_range_message(needing[0].path, needing[0].pixels)}"
        )
    found, line = measure_pixel_range(train, max_pixels=node.MAX_PIXELS)
    node.PIXEL_RANGE = list(found)
    return [line]


def set_pixel_range_from_images(cfg: Any, records: Records) -> None:
    """Measure the pixel range in some images if ``PIXEL_RANGE`` is auto, set it and print it.

    Nothing is done if no image needs a range. Files that cannot be read are skipped without a
    message.

    Args:
        cfg: a config that is not frozen.
        records: records with "file_name".
    """
    node, headers = cfg.MODEL.RETINA_PLUGIN.INPUT, []
    if node.PIXEL_RANGE != "auto":
        return
    for record in records:
        with contextlib.suppress(DatasetError):
            headers.append(read_header(record["file_name"]))
    if any(header.pixels.needs_range for header in headers):
        found, line = measure_pixel_range(headers, max_pixels=node.MAX_PIXELS)
        node.PIXEL_RANGE = list(found)
        print(line)


def set_pixel_range_from_metadata(cfg: Any, metadata: Mapping[str, Any], path: str) -> None:
    """Set ``PIXEL_RANGE`` from the metadata of a checkpoint, if the key is auto.

    Metadata without a range change nothing.

    Args:
        cfg: a config that is not frozen.
        metadata: from :func:`retina_plugin.checkpoint.load_weights`.
        path: the checkpoint, for messages.

    Raises:
        ConfigError: the range in the checkpoint is invalid.
    """
    node, found = cfg.MODEL.RETINA_PLUGIN.INPUT, metadata.get("pixel_range")
    if found is not None and node.PIXEL_RANGE == "auto":
        node.PIXEL_RANGE = MULTI_TYPE_KEYS[KEY](found, f"{path}: pixel_range in its metadata")
