"""The times that are logged on Lightning."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from retina_plugin.lit import scalars
from retina_plugin.lit.module import RetinaNetModule


def test_an_evaluation_is_not_counted_as_time_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(scalars, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    callback = scalars.MeanScalarsCallback()
    callback.on_train_start()
    trainer: Any = SimpleNamespace(should_stop=False)
    now[0] = 100.0  # the end of an evaluation
    callback.on_validation_end(trainer, RetinaNetModule.__new__(RetinaNetModule))
    now[0] = 101.0
    callback.on_train_batch_start()
    assert callback.sums == {"data_time": 1.0}
