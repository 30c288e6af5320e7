"""Class weights from the training set: the rule by hand, rare and absent classes, background, and
the use on both hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from retina_plugin import build_model, get_cfg
from retina_plugin.checkpoint import checkpoint_metadata, load_weights
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.checks import resolve_alpha
from retina_plugin.engine.summary import alpha_summary
from retina_plugin.losses import auto_alpha, sigmoid_focal_loss
from tests.models import compact_cfg, compact_model


@pytest.mark.parametrize(
    ("counts", "arguments", "expected"),
    [
        pytest.param([7, 7], {}, [0.25, 0.25], id="equal frequencies: the base"),
        pytest.param(
            [99, 24],
            {},
            [0.25 * 2 / 3, 0.25 * 4 / 3],
            id="square root: 10 to 5 boxes' roots, 1 to 2 in weight",
        ),
        pytest.param(
            [99, 24], {"power": 1.0}, [0.25 * 2 / 5, 0.25 * 8 / 5], id="power 1: 1 to 4 in weight"
        ),
        pytest.param([99, 24], {"power": 0.0}, [0.25, 0.25], id="power 0: the base"),
        pytest.param([99, 24], {"base": 0.6}, [0.4, 0.8], id="another base"),
        pytest.param(
            [99, 0, 24],
            {},
            [0.25 * 2 / 3, 0.25, 0.25 * 4 / 3],
            id="absent class: the base; the others as without it",
        ),
        pytest.param([9999, 9999, 9999, 0, 1], {"power": 1.0}, None, id="rare class: clipped"),
        pytest.param([0, 0], {}, [0.25, 0.25], id="nothing to count"),
        pytest.param([5], {}, [0.25], id="one class"),
    ],
)
def test_rule(counts: list[int], arguments: dict, expected: list[float] | None) -> None:
    alpha = auto_alpha(counts, **arguments)
    if expected is None:
        assert alpha[3] == 0.25
        assert alpha[4] == 0.99
        assert alpha[:3] == [0.01] * 3
    else:
        assert_close(alpha, expected)
        present = [a for a, count in zip(alpha, counts, strict=True) if count]
        assert not present or sum(present) / len(present) == pytest.approx(
            arguments.get("base", 0.25)
        )


def test_rarer_is_heavier() -> None:
    alpha = auto_alpha([1, 10, 100, 1000, 10000])
    assert alpha == sorted(alpha, reverse=True)
    assert len(set(alpha)) == 5


def test_background_is_a_negative_of_every_class_with_its_weight() -> None:
    """Classes with 1000, 10 and 0 boxes. On background each logit has weight 1 - alpha of its
    class; the absent class has the base."""
    alpha = torch.tensor(auto_alpha([1000, 10, 0]))
    logits, background = torch.zeros(1, 3, requires_grad=True), torch.tensor([3])
    own = sigmoid_focal_loss(logits, background, alpha=alpha, gamma=2.0, reduction="none")
    plain = sigmoid_focal_loss(logits, background, alpha=0.25, gamma=2.0, reduction="none")
    assert_close(own / plain, ((1 - alpha) / 0.75)[None])
    assert_close(own[0, 2], plain[0, 2])
    own.sum().backward()
    assert (logits.grad > 0).all()  # background lowers the score of every class, however rare
    assert alpha[1] > 0.25 > alpha[0]


def auto_cfg(*options: object):
    cfg = compact_cfg(MODEL__RETINANET__FOCAL_LOSS_ALPHA="auto", DATASETS__TRAIN=("a", "b"))
    cfg.merge_from_list(list(options))
    return cfg


COUNTS = {"a": [60, 20, 0], "b": [39, 4, 0]}  # 99, 24, 0 in all


def test_the_training_sets_are_counted_and_the_table_is_printed() -> None:
    cfg = auto_cfg()
    table = resolve_alpha(cfg, ["cat", "elephant", "yeti"], COUNTS.__getitem__)
    assert cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA == [0.1667, 0.3333, 0.25]
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["class", "boxes", "share", "alpha"],
        ["yeti", "0", "0.00%", "0.2500"],
        ["elephant", "24", "19.51%", "0.3333"],
        ["cat", "99", "80.49%", "0.1667"],
    ]
    assert (
        resolve_alpha(cfg, ["cat", "elephant", "yeti"], lambda name: pytest.fail("counted again"))
        == ""
    )


def test_keys_of_the_rule() -> None:
    cfg = auto_cfg(
        "MODEL.RETINA_PLUGIN.AUTO_ALPHA_BASE", 0.6, "MODEL.RETINA_PLUGIN.AUTO_ALPHA_POWER", 1.0
    )
    cfg.merge_from_list(["MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP", [0.3, 0.9]])
    resolve_alpha(cfg, ["cat", "elephant", "yeti"], COUNTS.__getitem__)
    assert cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA == [0.3, 0.9, 0.6]


@pytest.mark.parametrize(
    "options",
    [
        ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_BASE", 0.0],
        ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP", [0.3, 0.9]],
    ],
    ids=["base 0", "base out of bounds"],
)
def test_invalid_keys_of_the_rule(options: list) -> None:
    with pytest.raises(ConfigError, match=r"AUTO_ALPHA_BASE: expected .* AUTO_ALPHA_CLIP"):
        resolve_alpha(auto_cfg(*options), ["cat", "elephant", "yeti"], COUNTS.__getitem__)


def test_a_long_table_shows_both_ends() -> None:
    counts = list(range(1, 101))
    lines = alpha_summary(
        [f"class {c}" for c in counts], counts, auto_alpha(counts), most=6
    ).splitlines()
    assert [line.split()[1] for line in lines[2:5] + lines[6:]] == [
        "1",
        "2",
        "3",
        "98",
        "99",
        "100",
    ]
    assert "94 classes between" in lines[5]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (-1, -1.0),
        ("0.75", 0.75),
        ("[0.1, 0.2, 1]", [0.1, 0.2, 1.0]),
        ((0.1, 0.2, 0.3), [0.1, 0.2, 0.3]),
        ("auto", "auto"),
    ],
)
def test_the_key_takes_a_number_a_list_or_auto(
    value: object, expected: object, tmp_path: Path
) -> None:
    cfg = get_cfg()
    # the value before does not matter
    cfg.merge_from_list(["MODEL.RETINANET.FOCAL_LOSS_ALPHA", [0.5, 0.5]])
    cfg.merge_from_list(["MODEL.RETINANET.FOCAL_LOSS_ALPHA", value])
    assert expected == cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(str(tmp_path / "config.yaml"))
    assert expected == again.MODEL.RETINANET.FOCAL_LOSS_ALPHA


@pytest.mark.parametrize(
    "value", ["car", "[]", "['a']", "None", "True", "{'a': 1}", "1.5", "[0.5, 7]"]
)
def test_other_values_are_refused(value: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"command line: MODEL.RETINANET.FOCAL_LOSS_ALPHA: expected a weight .* "
        r"or auto, found",
    ):
        get_cfg().merge_from_list(["MODEL.RETINANET.FOCAL_LOSS_ALPHA", value])


def test_one_weight_for_each_class_of_the_model() -> None:
    with pytest.raises(
        ValueError,
        match=r"FOCAL_LOSS_ALPHA has 2 weights, and "
        r"MODEL.RETINANET.NUM_CLASSES is 3",
    ):
        compact_model(MODEL__RETINANET__FOCAL_LOSS_ALPHA=[0.1, 0.2])


def losses(model) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    images, sizes = model.preprocess([torch.rand(3, 64, 64) * 255])
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    return model.train()(images, sizes, [target])


@pytest.mark.parametrize(
    ("class_loss", "alpha", "gamma", "like"),
    [
        pytest.param("ce", 0.9, 5.0, ("focal", -1, 0.0), id="ce: neither weights nor gamma"),
        pytest.param("balanced_ce", 0.9, 5.0, ("focal", 0.9, 0.0), id="balanced_ce: no gamma"),
        pytest.param(
            "focal",
            [0.3, 0.3, 0.3],
            2.0,
            ("focal", 0.3, 2.0),
            id="a list of equal weights is one weight",
        ),
    ],
)
def test_the_model_takes_its_class_loss_from_the_config(
    class_loss: str, alpha: object, gamma: float, like: tuple
) -> None:
    def loss_of(name: str, alpha: object, gamma: float) -> torch.Tensor:
        torch.manual_seed(0)
        keys = {
            "MODEL__RETINANET__FOCAL_LOSS_ALPHA": alpha,
            "MODEL__RETINANET__FOCAL_LOSS_GAMMA": gamma,
        }
        return losses(compact_model(MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME=name, **keys))[
            "loss_cls"
        ]

    assert_close(loss_of(class_loss, alpha, gamma), loss_of(*like))
    assert (loss_of(class_loss, alpha, gamma) - loss_of("focal", 0.25, 2.0)).abs() > 1e-3


def test_the_message_for_an_unknown_class_loss_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no class loss is called 'focl'. Nearest: focal"):
        compact_model(MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME="focl")


def test_auto_needs_the_training_set_only_for_training() -> None:
    model = build_model(auto_cfg())
    assert len(model.predict([torch.zeros(3, 64, 64)])) == 1
    with pytest.raises(ValueError, match="FOCAL_LOSS_ALPHA auto"):
        losses(model)


def test_weights_are_in_the_checkpoint_and_parameters_keep_detectron2s_names(
    tmp_path: Path,
) -> None:
    model, plain = (
        compact_model(MODEL__RETINANET__FOCAL_LOSS_ALPHA=[0.125, 0.25, 0.5]),
        compact_model(),
    )
    assert set(model.state_dict()) == set(plain.state_dict())
    metadata = checkpoint_metadata(["a", "b", "c"], model)
    torch.save({"model": model.state_dict(), "metadata": metadata}, tmp_path / "x.pth")
    assert load_weights(plain, str(tmp_path / "x.pth")) == {
        "class_names": ["a", "b", "c"],
        "class_alpha": [0.125, 0.25, 0.5],
    }
    assert checkpoint_metadata(["a", "b", "c"], plain) == {"class_names": ["a", "b", "c"]}
