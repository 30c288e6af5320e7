"""Plot the AP of each class over its frequency in the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from retina_plugin.report.figures import render_figure

MARKERS = "osD^vPX*<>"


def ap_by_frequency(ap: Mapping[str, Sequence[float]], counts: Sequence[int]) -> np.ndarray:
    """Draw a line for each entry of ``ap`` over a logarithmic axis of frequency.

    Args:
        ap: {label of the line: AP of each of K classes in percent}.
        counts: K numbers of boxes in the training set; classes without boxes are not drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure = Figure(figsize=(9.0, 4.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    order = [i for i in sorted(range(len(counts)), key=lambda i: counts[i]) if counts[i]]
    for number, (name, values) in enumerate(ap.items()):
        colour = f"C{number % 10}"
        x, y = [counts[i] for i in order], [values[i] for i in order]
        axes.plot(
            x,
            y,
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linewidth=1.3,
            color=colour,
            label=name,
        )
    axes.set(
        xscale="log", xlabel="boxes of the class in the training set", ylabel="AP", ylim=(0, None)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside right upper")
    return render_figure(figure)
