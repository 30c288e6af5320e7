"""Draw the figures of docs/theory.md from the loss functions that training uses.

Every function returns an (H, W, 3) uint8 RGB array. Lines differ in style and in colour, from a
palette for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from retina_plugin.losses import cross_entropy_terms, derivatives, focal_terms
from retina_plugin.report.figures import render_figure
from retina_plugin.report.imbalance import EASY, HARD, LossVariant, cumulative_share, easy_to_hard

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")  # the palette of Okabe and Ito
STYLES = ("-", (0, (6, 2)), "-.", (0, (3, 1, 1, 1, 1, 1)), ":")
GREY = "#555555"


def cross_entropy_figure() -> np.ndarray:
    """Draw ``-log q`` and mark the easy and the hard examples of docs/theory.md."""
    figure, (axes,) = _figure(1)
    q = torch.linspace(0.005, 1, 400)[:-1]
    axes.plot(q, derivatives.value(q, cross_entropy_terms), **_lines()[0])
    for (count, loss), kind, shift in ((HARD, "hard", (0.05, 0.35)), (EASY, "easy", (-0.24, 0.75))):
        here = float(np.exp(-loss))
        axes.plot(here, loss, "o", color=GREY)
        axes.annotate(
            f"{kind}: q = {here:.2f}, loss {loss}\n{_format_count(count)} of them",
            (here, loss),
            (here + shift[0], loss + shift[1]),
            arrowprops={"arrowstyle": "-", "color": GREY},
        )
    _label(axes, "Cross entropy", "q, predicted probability of the true label", "$-\\log q$")
    axes.set(xlim=(0, 1), ylim=(0, 5))
    return render_figure(figure)


def focal_figure() -> np.ndarray:
    """Draw focal loss over q for each gamma."""
    figure, (axes,) = _figure(1)
    q = torch.linspace(0.002, 1, 500)[:-1]
    for gamma, line in zip(GAMMAS, _lines(), strict=True):
        axes.plot(q, derivatives.value(q, focal_terms, gamma=gamma), label=_name(gamma), **line)
    _label(
        axes,
        "Focal loss",
        "q, predicted probability of the true label",
        "$-(1 - q)^{\\gamma} \\log q$",
    )
    axes.set(xlim=(0, 1), ylim=(0, 5))
    axes.legend(frameon=False)
    return render_figure(figure)


def derivatives_figure() -> np.ndarray:
    """Draw the derivatives of focal loss with respect to q and to the logit.

    The first is unbounded, the second is bounded.
    """
    figure, (by_q, by_logit) = _figure(2)
    q, x = torch.linspace(0.002, 1, 500)[:-1], torch.linspace(-6, 6, 400)
    for gamma, line in zip(GAMMAS, _lines(), strict=True):
        by_q.plot(q, derivatives.by_q(q, focal_terms, gamma=gamma), label=_name(gamma), **line)
        by_logit.plot(
            x, derivatives.by_logit(x, focal_terms, gamma=gamma), label=_name(gamma), **line
        )
    _label(
        by_q,
        "by q: unbounded at q = 0",
        "q, predicted probability of the true label",
        "derivative of the loss",
    )
    _label(by_logit, "by the logit: bounded", "x, logit of q", "")
    by_q.set(xlim=(0, 1), ylim=(-10, 0.3))
    by_logit.set(xlim=(-6, 6), ylim=(-1.5, 0.045))
    by_q.legend(frameon=False, loc="lower right")
    return render_figure(figure)


def loss_variants_figure(variants: Sequence[LossVariant]) -> np.ndarray:
    """Draw the loss of all easy examples divided by the loss of all hard ones, for each variant.

    docs/theory.md describes the examples; see :mod:`retina_plugin.report.imbalance`.
    """
    figure, (axes,) = _figure(1, width=8.0)
    ratios = [easy_to_hard(variant) for variant in variants]
    positions = range(len(variants) - 1, -1, -1)  # the first variant is on top
    colours = [COLOURS[3] if ratio > 1 else COLOURS[0] for ratio in ratios]
    axes.barh(positions, [ratio - 1 for ratio in ratios], left=1, color=colours, height=0.6)
    for position, ratio in zip(positions, ratios, strict=True):
        beside, side = (ratio * 1.15, "left") if ratio > 1 else (ratio / 1.15, "right")
        axes.text(beside, position, f"{ratio:.3g}", va="center", ha=side)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(list(positions), [variant.name for variant in variants])
    axes.set(xscale="log", xlim=(2e-4, 200))
    title = (
        f"{_format_count(EASY[0])} easy examples of cross entropy {EASY[1]} against {HARD[0]} hard "
        f"ones of {HARD[1]}"
    )
    _label(axes, title, "loss of all easy examples / loss of all hard examples", "")
    return render_figure(figure)


def loss_shares_figure(objects: Tensor, background: Tensor, gammas: Sequence[float]) -> np.ndarray:
    """Draw the cumulative share of the loss over anchors sorted from easy to hard.

    This is figure 4 of the focal loss paper (arXiv 1708.02002).

    Args:
        objects: losses (G, P) of positive anchors, see
            :func:`retina_plugin.report.imbalance.anchor_losses`.
        background: losses (G, B) of negative anchors.
        gammas: G values of gamma.

    Raises:
        ValueError: see :func:`retina_plugin.report.imbalance.cumulative_share`.
    """
    figure, panels = _figure(2)
    for axes, losses, kind in zip(
        panels, (objects, background), ("objects", "background"), strict=True
    ):
        for gamma, row, line in zip(gammas, losses, _lines(), strict=False):
            share = cumulative_share(row)
            shown = np.unique(
                np.linspace(0, len(row), 2000).round().astype(int)
            )  # at most 2000 points are drawn
            axes.plot(shown / len(row), share[shown], label=_name(gamma), **line)
        _label(
            axes,
            f"{_format_count(losses.shape[1])} anchors on {kind}",
            f"share of the anchors on {kind}, easiest first",
            "",
        )
        axes.set(xlim=(0, 1.005), ylim=(0, 1.005))
    panels[0].set_ylabel("share of their loss")
    panels[0].legend(frameon=False)
    return render_figure(figure)


def _figure(panels: int, *, width: float = 0.0) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(
        figsize=(width or (5.6 if panels == 1 else 9.0), 3.9), dpi=100, layout="constrained"
    )
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _lines() -> list[dict[str, Any]]:
    """Return the keyword arguments of each line for ``Axes.plot``."""
    return [
        {"color": colour, "linestyle": style, "linewidth": 1.8}
        for colour, style in zip(COLOURS, STYLES, strict=True)
    ]


def _name(gamma: float) -> str:
    return rf"$\gamma$ = {gamma:g}" + (", cross entropy" if gamma == 0 else "")


def _format_count(count: int) -> str:
    return f"{count:,}".replace(",", " ")
