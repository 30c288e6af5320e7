"""The folders of evaluation results."""

from __future__ import annotations

from typing import Any

import pytest

from retina_plugin.config import get_cfg
from retina_plugin.evaluation.results import results_folder


def folders(*, test: tuple[str, ...], validation: tuple[str, ...] = ()) -> list[str]:
    cfg: Any = get_cfg()
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = "out", test
    cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION = validation
    names = dict.fromkeys([*validation, *test])
    return [results_folder(cfg, name).removeprefix("out/inference") for name in names]


@pytest.mark.parametrize(
    ("test", "validation", "expected"),
    [
        (("a/val.json@x",), (), [""]),
        (("bccd_val", "a b/c.json@x"), (), ["/bccd_val", "/a_b_c.json_x"]),
        (("a",), ("b",), ["/b", ""]),
        (("a/val.json@x", "a_val.json@x"), (), ["/a_val.json_x", "/a_val.json_x.2"]),
        (("B", "b", "b.2"), (), ["/B", "/b.2", "/b.2.2"]),
        (("a/b",), ("a:b", "a_b"), ["/a_b", "/a_b.2", ""]),
        (("..", "."), (), ["/_", "/_.2"]),
    ],
)
def test_each_data_set_has_a_folder(
    test: tuple[str, ...], validation: tuple[str, ...], expected: list[str]
) -> None:
    assert folders(test=test, validation=validation) == expected
