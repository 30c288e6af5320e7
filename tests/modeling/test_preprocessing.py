"""Resizing of images from files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from retina_plugin.modeling.preprocessing import resize


@pytest.mark.parametrize("min_size", [7, 16, 80])
def test_resize_equals_pillow(min_size: int) -> None:
    """Pillow's bilinear filter is antialiased when it makes an image smaller."""
    pixels = np.random.default_rng(0).uniform(0, 255, (64, 48)).astype(np.float32)
    found = resize(torch.from_numpy(pixels).expand(3, -1, -1), min_size, 1000)
    height, width = found.shape[1:]
    expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    assert_close(found[2].numpy(), np.asarray(expected), atol=0.01, rtol=0)
