"""Detectron2's other meta-architectures in ``tools/train_net.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.checkpoint import read_checkpoint
from tests.load_tools import load_tool
from tests.scenes import write_run

SMALL = """
MODEL.META_ARCHITECTURE GeneralizedRCNN MODEL.BACKBONE.NAME build_resnet_fpn_backbone
MODEL.RESNETS.OUT_FEATURES ["res4","res5"] MODEL.FPN.IN_FEATURES ["res4","res5"]
MODEL.RESNETS.RES2_OUT_CHANNELS 64 MODEL.RESNETS.NORM BN MODEL.FPN.NORM BN
MODEL.RPN.IN_FEATURES ["p4","p5"] MODEL.ROI_HEADS.IN_FEATURES ["p4","p5"]
MODEL.RPN.POST_NMS_TOPK_TRAIN 20 MODEL.RPN.POST_NMS_TOPK_TEST 20
MODEL.ROI_HEADS.NAME StandardROIHeads MODEL.ROI_HEADS.NUM_CLASSES 3
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 16 MODEL.RETINANET.NUM_CLASSES 80 SOLVER.MAX_ITER 1
"""


@pytest.mark.slow
def test_a_region_based_model_trains(tmp_path: Path, root: Path) -> None:
    """It does not read MODEL.RETINANET.NUM_CLASSES, so any value is accepted."""
    config = write_run(tmp_path, root)
    load_tool("train_net").main(["--host", "detectron2", "--config-file", config, *SMALL.split()])
    state = read_checkpoint(str(tmp_path / "out/model_final.pth"))["model"]
    assert len(state["roi_heads.box_predictor.cls_score.weight"]) == 3 + 1
    assert (tmp_path / "out/predictions.png").is_file()
