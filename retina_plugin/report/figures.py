"""Render matplotlib figures as arrays."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def render_figure(figure: Figure) -> np.ndarray:
    """Return a figure as an (H, W, 3) uint8 RGB array."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # the method has no annotations
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]  # the method has no annotations
    rgb: np.ndarray = np.array(pixels, dtype=np.uint8)[..., :3].copy()
    return rgb
