"""Choice of the host, and the reason that is printed. tests/tools/test_one_run.py checks that a run
on Lightning does not import Detectron2."""

import pytest

from retina_plugin.engine import hosts


@pytest.mark.parametrize(
    ("problem", "host", "reason"),
    [
        (None, "detectron2", "it is installed"),
        ("is not installed", "lightning", "detectron2 is not installed"),
        (
            "is installed but does not import (OSError: x)",
            "lightning",
            "detectron2 is installed but does not import",
        ),
    ],
)
def test_choice(
    monkeypatch: pytest.MonkeyPatch, problem: str | None, host: str, reason: str
) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: problem)
    found, why = hosts.choose_host("auto")
    assert (found, why[: len(reason)]) == (host, reason)
    assert hosts.choose_host("lightning") == ("lightning", "chosen with --host")


def test_host_detectron2_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: "is not installed")
    with pytest.raises(
        ImportError,
        match=r"detectron2 is not installed\. Install it from source, or use --host "
        r"lightning",
    ):
        hosts.choose_host("detectron2")
