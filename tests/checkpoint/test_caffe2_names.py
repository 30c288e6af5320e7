"""Mapping of Caffe2 ResNet names to Detectron2 names, and loading of their batch norms."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint.formats import caffe2_names
from retina_plugin.layers.norms import FrozenBatchNorm2d


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("conv1_b", "stem.conv1.bias"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res2_0_branch1_w", "res2.0.shortcut.weight"),
        ("res2_0_branch2a_bn_gamma", "res2.0.conv1.norm.weight"),
        ("res3_1_branch2b_bn_b", "res3.1.conv2.norm.bias"),
        ("res4_22_branch2c_gn_beta", "res4.22.conv3.norm.bias"),
        ("res5_2_branch2c_bn_rm", "res5.2.conv3.norm.running_mean"),
        ("res5_2_branch2c_bn_riv", "res5.2.conv3.norm.running_var"),
        ("fc1000_w", "fc1000_w"),
        ("my_res2_0_branch2a_w", "my_res2_0_branch2a_w"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    own = ["res2.0.conv1.norm.num_batches_tracked"]  # trainable norms: no statistics are added
    assert list(caffe2_names({theirs: torch.zeros(1)}, own)) == [ours]


def test_momentum_of_caffe2s_optimizer_is_no_parameter() -> None:
    assert caffe2_names({"conv1_w_momentum": torch.zeros(1)}, []) == {}


def test_a_norm_without_statistics_is_weight_times_x_plus_bias() -> None:
    """A file without statistics, with weight 2 and bias 3: the norm computes 2 x + 3."""
    state = {"conv1_w": torch.zeros(2, 3, 7, 7)}
    state |= {"res_conv1_bn_s": torch.full((2,), 2.0), "res_conv1_bn_b": torch.full((2,), 3.0)}
    own = ["stem.conv1.weight", "stem.conv1.norm.weight", "stem.conv1.norm.running_var"]
    renamed = caffe2_names(state, own)
    norm = FrozenBatchNorm2d(2)
    norm.load_state_dict(
        {
            name.removeprefix("stem.conv1.norm."): x
            for name, x in renamed.items()
            if ".norm." in name
        }
    )
    x = torch.tensor([-1.0, 0.0, 0.5, 100.0]).expand(1, 2, 1, 4)
    assert_close(norm(x), 2 * x + 3, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("counts_batches", "added"),
    [
        pytest.param(None, True, id="no norm learns"),
        pytest.param("stem.conv1.norm.num_batches_tracked", False, id="norms of the stem learn"),
        pytest.param(
            "backbone.bottom_up.res4.0.conv2.norm.num_batches_tracked",
            False,
            id="norms of a stage below a neck learn",
        ),
        pytest.param(
            "backbone.fpn_lateral3.norm.num_batches_tracked", True, id="norms of the neck learn"
        ),
        pytest.param("head.cls_subnet.1.0.num_batches_tracked", True, id="norms of the head learn"),
    ],
)
def test_statistics_are_added_for_frozen_norms_only(
    counts_batches: str | None, added: bool
) -> None:
    """Trainable norms cannot take weights without statistics; the missing statistics are reported
    when the file is compared with the model."""
    own = ["backbone.bottom_up.stem.conv1.norm.weight", *filter(None, [counts_batches])]
    renamed = caffe2_names({"res_conv1_bn_s": torch.ones(2)}, own)
    assert ("stem.conv1.norm.running_var" in renamed) is added
    assert ("stem.conv1.norm.running_mean" in renamed) is added
