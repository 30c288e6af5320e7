"""Train with the first command of the README and compare AP with the published one; takes
minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

import retina_plugin
from retina_plugin.config import get_cfg


@pytest.mark.long
def test_digits(root: Path, tmp_path: Path) -> None:
    """The tolerance covers rounding on other machines and numbers of threads."""
    cfg = get_cfg()
    cfg.merge_from_file(str(root / "configs/digits/retinanet_compact.yaml"))
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path / "out")])
    metrics = retina_plugin.train(cfg, host="lightning")["bbox"]
    assert metrics["AP"] == pytest.approx(81.4, abs=1.5)
    assert metrics["AP50"] == pytest.approx(96.2, abs=1.5)
