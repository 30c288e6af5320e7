"""Which host a run takes, and the words for it."""

import pytest

from retina_plugin import hosts


@pytest.mark.parametrize(
    ("problem", "host", "reason"),
    [
        (None, "detectron2", "it is installed"),
        ("is not installed", "lightning", "detectron2 is not installed"),
        ("is installed but does not import (OSError: x)", "lightning", "detectron2 is installed but does not import"),
    ],
)
def test_choice(monkeypatch: pytest.MonkeyPatch, problem: str | None, host: str, reason: str) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: problem)
    found, why = hosts.choose_host("auto")
    assert (found, why[: len(reason)]) == (host, reason)
    assert hosts.choose_host("lightning") == ("lightning", "asked for with --host")


def test_detectron2_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: "is not installed")
    with pytest.raises(
        ImportError, match=r"detectron2 is not installed\. Install it from source, or use --host lightning"
    ):
        hosts.choose_host("detectron2")
