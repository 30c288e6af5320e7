"""Output of a run for its evaluations."""

from __future__ import annotations

import pytest

from retina_plugin.engine.summary import print_evaluation

FOUND = {"bbox": {"AP": 45.24, "AP50": 60.0, "AP75": 50.0}}
LINE = "AP 45.2, AP50 60.0, AP75 50.0\n"


@pytest.mark.parametrize(
    ("results", "step", "printed"),
    [
        pytest.param(FOUND, 10, f"evaluation after step 10 of 20: {LINE}", id="in the middle"),
        pytest.param(FOUND, 20, "", id="at the end, which has a table"),
        pytest.param({}, 10, "", id="without ground truth"),
        pytest.param(
            {"a": FOUND, "b": {}}, 10, f"evaluation after step 10 of 20: a {LINE}", id="of two sets"
        ),
    ],
)
def test_only_evaluations_before_the_last_step_are_printed(
    results: dict, step: int, printed: str, capsys: pytest.CaptureFixture
) -> None:
    print_evaluation(results, step=step, steps=20)
    assert capsys.readouterr().out == printed
