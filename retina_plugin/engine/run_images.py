"""Check the images of a run before it starts, and settle their pixel range; for both hosts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retina_plugin.checkpoint import metadata_of, read_checkpoint
from retina_plugin.config import MULTI_TYPE_KEYS
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
    """Read the headers of all images that a run will use, and turn ``PIXEL_RANGE: auto`` into
    numbers if any of them needs a range.

    A resumed run takes the range of its ``config.yaml``, an evaluation that of its checkpoint, a
    new run that of its training images. Without an image that needs a range, auto stays and nothing
    is decoded.

    Args:
        cfg: a config tree that is not frozen.
        request: with ``eval_only`` the training sets are not read.
        host: on which the run is.
        records_of: name of a data set -> its records.
        show: progress on standard error.

    Returns:
        What was checked and which range was taken, to be printed.

    Raises:
        DatasetError: files that cannot be used, counted, or images that need a range where there is
            none.
    """
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    train = (
        []
        if request.eval_only
        else [record for name in cfg.DATASETS.TRAIN for record in records_of(name)]
    )
    test = [record for name in cfg.DATASETS.TEST for record in records_of(name)]
    started = time.perf_counter()
    headers = check_images([*train, *test], max_pixels=node.MAX_PIXELS, show=show)
    lines = [
        f"images: {len(headers)} headers read in {time.perf_counter() - started:.1f} s; sizes and "
        "kinds agree with the annotations "
        "(pixels are decoded when they are used: a file cut off after its header is found then)"
    ]
    lines += _resolve_pixel_range(cfg, request, host, headers, headers[: len(train)])
    return "\n".join(lines)


def _resolve_pixel_range(
    cfg: Any,
    request: Request,
    host: Host,
    headers: Sequence[Header],
    train: Sequence[Header],
) -> list[str]:
    """Set ``PIXEL_RANGE`` if it is auto and an image needs it; lines for people."""
    node, needing = (
        cfg.MODEL.RETINA_PLUGIN.INPUT,
        [header for header in headers if header.pixels.needs_range],
    )
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
        set_pixel_range_from_metadata(cfg, metadata_of(read_checkpoint(source)), source)
    if node.PIXEL_RANGE != "auto":
        return [f"pixel range: {node.PIXEL_RANGE} of {source} {share}"]
    if not any(header.pixels.needs_range for header in train):
        raise DatasetError(
            f"{len(needing)} of {len(headers)} images need a range of pixel values, {KEY} is auto, "
            f"and {'no training' if request.eval_only else 'no training image needs one'} from "
            "which to take it. First: "
            f"{missing_range_message(needing[0].path, needing[0].pixels)}"
        )
    found, line = measure_pixel_range(train, max_pixels=node.MAX_PIXELS)
    node.PIXEL_RANGE = list(found)
    return [line]


def set_pixel_range_from_images(cfg: Any, records: Records) -> None:
    """Measure a ``PIXEL_RANGE`` that is auto in the images of some records if any of them needs it,
    and print it; for pictures.

    Files that cannot be read are left to whoever draws them.

    Args:
        cfg: a config tree that is not frozen.
        records: "file_name" of each.
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
    """Set a ``PIXEL_RANGE`` that is auto to the range in the metadata of a checkpoint, if it has
    one.

    Args:
        cfg: a config tree that is not frozen.
        metadata: from :func:`retina_plugin.checkpoint.load_weights`.
        path: of the checkpoint, for messages.

    Raises:
        ConfigError: the file's range is none.
    """
    node, found = cfg.MODEL.RETINA_PLUGIN.INPUT, metadata.get("pixel_range")
    if found is not None and node.PIXEL_RANGE == "auto":
        node.PIXEL_RANGE = MULTI_TYPE_KEYS[KEY](found, f"{path}: pixel_range in its metadata")
