"""Distances between the colours of classes, for normal and colour-blind vision."""

from __future__ import annotations

import numpy as np
import pytest

from retina_plugin.report.drawing import PALETTE, class_colour, class_style

# Machado, Oliveira and Fernandes 2009, severity 1.0; they apply to linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def to_lab(rgb: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """CIELAB (N, 3) of sRGB colours (N, 3) in 0..255, as a vision sees them."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ vision.T).clip(0, 1) @ XYZ.T / WHITE
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_lab_of_known_colours() -> None:
    """White is (100, 0, 0), and sRGB's red (53.2, 80.1, 67.2)."""
    found = to_lab(np.array([[255, 255, 255], [255, 0, 0]]), VISIONS["normal"])
    np.testing.assert_allclose(found, [[100, 0, 0], [53.2, 80.1, 67.2]], atol=0.1)


@pytest.mark.parametrize(
    ("vision", "least"), [("normal", 40), ("protanopia", 28), ("deuteranopia", 28)]
)
def test_the_first_ten_colours_can_be_told_apart(vision: str, least: float) -> None:
    """A distance of 2.3 is just noticeable. The palette before had 0.7 for deuteranopia."""
    lab = to_lab(np.array(PALETTE), VISIONS[vision])
    assert len(PALETTE) == 10
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(10, k=1)]
    assert distances.min() > least


def test_no_colour_is_dark() -> None:
    """A dark line beside its black edge would not be visible."""
    assert to_lab(np.array(PALETTE), VISIONS["normal"])[:, 0].min() > 40


def test_200_classes_have_different_styles() -> None:
    styles = [class_style(label) for label in range(230)]
    assert len(set(styles)) == 230
    assert all(style.gaps is None for style in styles[:10])
    assert all(style.gaps not in (None, style.colour) for style in styles[10:])
    assert [class_colour(label) for label in (0, 10, 203)] == [PALETTE[0], PALETTE[0], PALETTE[3]]
