"""A small detector with detections everywhere: all scores are about 0.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from retina_plugin.config.tree import plain_leaves
from tests.models import compact_cfg, compact_model

NAMES = ["square", "bar", "nothing"]
FEW = {
    "MODEL__RETINANET__TOPK_CANDIDATES_TEST": 20,
    "TEST__DETECTIONS_PER_IMAGE": 10,
    "MODEL__RETINANET__PRIOR_PROB": 0.5,
}


def write_checkpoint(path: Path, **metadata: Any) -> str:
    """Write a checkpoint as runs do, with class names and config, and more metadata."""
    torch.manual_seed(0)
    config = plain_leaves(compact_cfg(**FEW))
    found = {"class_names": NAMES, "config": config, **metadata}
    torch.save({"model": compact_model(**FEW).state_dict(), "metadata": found}, path)
    return str(path)
