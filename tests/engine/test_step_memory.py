"""The check before a run that a training step fits into the memory."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.config.errors import ConfigError
from retina_plugin.engine import step_memory
from retina_plugin.engine.host import Request
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.prepare import prepare
from retina_plugin.engine.read_config import merge
from tests.scenes import write_run

ROOT = Path(__file__).parents[2]
HOSTS = ["lit"] + ["d2"] * (importlib.util.find_spec("detectron2") is not None)

MESSAGE = (
    r"with 4 images of (64 x 80|80 x 64) pixels needs at least .* MB, and .* are free\. Lower "
    r"SOLVER\.IMS_PER_BATCH 4, INPUT\.MIN_SIZE_TRAIN \[64\]"
)


def prepare_with(memory: int, file: str, host: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(step_memory, "this_machine", lambda device: Machine(1, memory, ""))
    found = importlib.import_module(f"retina_plugin.{host}.run").HOST
    return prepare(merge(found.get_cfg(), file, []), Request(), found, main=True)


@pytest.mark.parametrize("host", HOSTS)
def test_a_config_file_that_needs_more_memory(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images have 64 x 80 or 80 x 64 pixels and are not resized."""
    file = write_run(tmp_path, ROOT)
    with pytest.raises(ConfigError, match=MESSAGE):
        prepare_with(10**6, file, host, monkeypatch)
    assert not (tmp_path / "out").exists()
    assert prepare_with(10**8, file, host, monkeypatch).class_names == ["square", "bar", "nothing"]


def test_no_step_is_measured_if_memory_is_ample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(step_memory, "require_memory")
    prepare_with(2**36, write_run(tmp_path, ROOT), "lit", monkeypatch)
