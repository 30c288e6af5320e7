"""What focal loss does on the data of a run."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retina_plugin.checkpoint import load_weights
from retina_plugin.data import image_options
from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.losses import auto_alpha
from retina_plugin.modeling import build_model
from retina_plugin.report.focal_effect import GAMMAS, GROUPS, VARIANTS, FocalEffect, focal_effect
from retina_plugin.report.page.chart import Axis, Line, line_chart
from retina_plugin.report.page.html import Html, note, section, table, tag
from retina_plugin.report.page.numbers import number
from retina_plugin.report.page.run_report import RunReport

IMAGES = 8
# losses whose positives have no weight, whatever FOCAL_LOSS_ALPHA is
UNWEIGHTED = ("ce", "quality_focal", "varifocal")
TITLE = "What focal loss does on this data"


def focal_section(run: RunReport, analysis: Analysis, prefix: str) -> Html | None:
    """Build the section; the model runs on :data:`IMAGES` images.

    Returns:
        None without a checkpoint.
    """
    if run.checkpoint is None:
        return None
    try:
        found = measure_focal_effect(run, analysis, run.checkpoint)
    except ValueError as error:  # the assigner has soft targets, or an image cannot be read
        return section(f"{prefix}focal", TITLE, tag("p", f"It was not measured: {error}"))
    return section(
        f"{prefix}focal",
        TITLE,
        tag("p", _example(found)),
        _shares(found),
        tag(
            "div",
            _curves("Positives", found.positives),
            _curves("Negatives", found.negatives),
            class_="row",
        ),
        _anchors(found),
        _alpha(run),
        note(
            f"Measured on {found.images} evaluated images that have boxes (if any has), with the "
            f"weights of {os.path.basename(run.checkpoint)}. A logit is one class score of an "
            "anchor. It is positive if the anchor is assigned to a box of this class; ignored "
            "anchors do not count. A negative is easy if its score is at most 0.1. All losses are "
            "computed for the scores of this model; a model trained with another loss would have "
            "other scores. The curves are those of figure 4 of arXiv 1708.02002: the share of the "
            "loss that comes from the easiest part of the logits."
        ),
    )


def measure_focal_effect(run: RunReport, analysis: Analysis, checkpoint: str) -> FocalEffect:
    """Measure the losses on evaluated images that are spread over the data set."""
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        cfg.MODEL.RETINANET.NUM_CLASSES = analysis.dataset.num_classes
    model = build_model(cfg)
    load_weights(model, checkpoint)
    with_boxes = [record for record in analysis.dataset.records if record["annotations"]]
    records = with_boxes or analysis.dataset.records
    chosen = np.unique(np.linspace(0, len(records) - 1, min(IMAGES, len(records))).round())
    return focal_effect(model, [records[int(i)] for i in chosen], **image_options(cfg))


def _example(found: FocalEffect) -> str:
    """Compare the measured losses with an example: 100,000 easy and 100 hard logits."""
    easy, *others = (float(share) for share in found.losses[0])
    ratio = easy / sum(others) if sum(others) else math.nan
    gamma = next(i for i, v in enumerate(VARIANTS) if v.gamma == 2)
    easy2, *others2 = (float(share) for share in found.losses[gamma])
    ratio2 = easy2 / sum(others2) if sum(others2) else math.nan
    return (
        f"Under cross entropy, the {int(found.logits[0]):,} easy negatives have a loss "
        f"{ratio:.2g} times that of the {int(found.logits[1:].sum()):,} hard negatives and "
        f"positives; under focal loss with gamma 2 and alpha 0.25, {ratio2:.2g} times. (For "
        "100,000 easy logits with cross entropy 0.1 and 100 hard ones with 2.3, the number is 43 "
        "under cross entropy.)"
    )


def _shares(found: FocalEffect) -> Html:
    rows: list[list[Any]] = []
    for variant, losses, gradients in zip(VARIANTS, found.losses, found.gradients, strict=True):
        rows.append([variant.name, *(number(100 * float(v)) for v in (*losses, *gradients))])
    counts = found.logits / found.logits.sum().clamp(min=1)
    rows.insert(0, ["number of logits", *(number(100 * float(v), 2) for v in counts), "", "", ""])
    head = ["", *(f"loss: {g}" for g in GROUPS), *(f"gradient: {g}" for g in GROUPS)]
    return table(head, rows, caption="Shares in percent of the loss, and of the absolute gradient")


def _curves(title: str, rows: Tensor) -> Html:
    parts = torch.linspace(0, 1, rows.shape[1]).tolist()
    lines = [
        Line(f"gamma {gamma:g}", parts, row.tolist())
        for gamma, row in zip(GAMMAS, rows, strict=True)
    ]
    axes = Axis("share of the logits, easiest first", 0, 1), Axis("share of the loss", 0, 1)
    return line_chart(lines, *axes, title=f"{title}: cumulative loss")


def _anchors(found: FocalEffect) -> Html:
    rows: list[list[Any]] = [
        [f"level {level}", *(f"{float(v):,.1f}" for v in counts)]
        for level, counts in enumerate(found.anchors, start=1)
    ]
    rows.append(["all levels", *(f"{float(v):,.1f}" for v in found.anchors.sum(dim=0))])
    head = ["", "positive", "ignored", "negative"]
    return table(head, rows, caption="Anchors in an image (mean), finest level first")


def _alpha(run: RunReport) -> Html | None:
    """Build the table of class frequencies, and the weight alpha of positives in each loss."""
    if not run.training_counts:
        return None
    counts = list(run.training_counts.values())
    total, losses = max(sum(counts), 1), alpha_of_losses(run.cfg, counts)
    rows: list[list[Any]] = [
        [name, count, f"{count / total:.1%}", *(number(alpha, 3) for alpha in alphas)]
        for name, count, *alphas in zip(run.training_counts, counts, *losses.values(), strict=True)
    ]
    rows.sort(key=lambda row: row[1])
    caption = (
        "Boxes of each class in training, and the weight alpha of positives in each loss; negatives"
        " have 1 - alpha, and 1 in cross entropy and quality focal loss"
    )
    return table(["class", "boxes", "share", *losses], rows, caption=caption)


def alpha_of_losses(cfg: Any, counts: list[int]) -> dict[str, list[float]]:
    """Return {name of a loss: weight alpha of the positives of each of the K classes}.

    Args:
        cfg: the config of the run, whose own weights come last.
        counts: number of training boxes of each class.
    """
    used, classes = cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA, len(counts)
    name = cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME
    own = used if isinstance(used, (list, tuple)) else [used] * classes
    if name in UNWEIGHTED:
        own = [1.0] * classes
    is_known = len(own) == classes and all(isinstance(value, (int, float)) for value in own)
    return {
        "cross entropy": [1.0] * classes,
        "balanced": [0.75] * classes,
        "balanced, 1 / (f + eps)": auto_alpha(counts, power=1),
        "balanced, auto": auto_alpha(counts),
        "focal": [0.25] * classes,
        f"this run, {name}": [
            1.0 if value < 0 else value for value in (own if is_known else [math.nan] * classes)
        ],
    }
