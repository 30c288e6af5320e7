"""The digits scenes: a detection data set that needs no download.

Scenes are composed from the 1797 handwritten digits that come with scikit-learn (8x8 pixels, UCI
"Optical Recognition of Handwritten Digits"), at many scales, colours and contrasts, over gradients,
noise and strokes that are no digits. Train and test scenes are made from different digits. The same
seed gives the same scenes. In the long-tailed variant the training scenes have class 0 most often
and each further class less often by the same factor, down to class 9; its test scenes are those of
the usual one.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from retina_plugin.data.errors import DatasetError

VERSION = 2  # of this recipe; another recipe goes to another folder
NUM_TRAIN, NUM_TEST, SIZE, SEED = 1600, 200, 160, 0
HEIGHTS = (18, 64)  # pixels of a digit
MAX_OVERLAP = 0.15  # of the smaller of two boxes


def digits_dataset(split: str, *, imbalance: int = 1) -> tuple[str, str]:
    """Annotation file and image folder of the default scenes, made on first use (some seconds).

    Args:
        split: "train" or "test".
        imbalance: see :func:`make_digits`.

    Returns:
        Two paths below ``RETINA_PLUGIN_CACHE``, or ``~/.cache/retina_plugin``.
    """
    cache = os.path.expanduser(os.environ.get("RETINA_PLUGIN_CACHE", "~/.cache/retina_plugin"))
    kind = "" if imbalance == 1 else f"-imbalance{imbalance}"
    folder = Path(cache) / f"digits-v{VERSION}-{NUM_TRAIN}-{NUM_TEST}-{SIZE}-{SEED}{kind}"
    if not folder.is_dir():
        make_digits(
            folder,
            num_train=NUM_TRAIN,
            num_test=NUM_TEST,
            size=SIZE,
            seed=SEED,
            imbalance=imbalance,
        )
    return str(folder / f"{split}.json"), str(folder / split)


def make_digits(
    folder: Path, *, num_train: int, num_test: int, size: int, seed: int, imbalance: float = 1
) -> None:
    """Make ``train.json``, ``test.json`` and their images below ``folder``, whole or not at all.

    Args:
        folder: must not exist; when another process makes it first, its result stays.
        num_train, num_test: scenes.
        size: height and width of a scene, pixels.
        seed: of everything.
        imbalance: how many times as often class 0 occurs as class 9 in the training scenes; the
            frequencies fall geometrically. With 1 all are alike, as they always are in the test
            scenes.

    Raises:
        DatasetError: nothing can be written there.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as drafts:
            draft = Path(drafts) / folder.name
            draft.mkdir()
            with tqdm(
                total=num_train + num_test, desc="making digit scenes", unit="scene", leave=False
            ) as bar:
                for number, (split, count, ratio) in enumerate(
                    (("train", num_train, imbalance), ("test", num_test, 1))
                ):
                    _make_split(
                        draft,
                        split,
                        count,
                        size=size,
                        seed=[seed, number],
                        imbalance=ratio,
                        bar=bar,
                    )
            os.replace(draft, folder)
    except OSError as error:
        if not folder.is_dir():
            raise DatasetError(
                f"digit scenes cannot be written to {folder}: {error.strerror}. "
                "Let the environment variable RETINA_PLUGIN_CACHE name a folder that can be "
                "written to."
            ) from error


@functools.cache
def split_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The digits of a split: images (D, 8, 8) float in [0, 1] and labels (D,). Every fifth digit of
    each class is for testing."""
    from sklearn.datasets import load_digits  # slow to import, needed only here

    digits = load_digits()
    place = np.empty(len(digits.target), dtype=np.int64)
    for label in range(10):
        members = np.flatnonzero(digits.target == label)
        place[members] = np.arange(len(members))
    chosen = (place % 5 == 4) == (split == "test")
    return digits.images[chosen] / 16, digits.target[chosen]


@functools.cache
def _chances(split: str, imbalance: float) -> np.ndarray:
    """How likely each digit of a split is drawn (D,), so that class c is drawn in proportion to
    ``imbalance ** (-c / 9)``."""
    labels = split_digits(split)[1]
    chances = (imbalance ** (-np.arange(10) / 9) / np.bincount(labels, minlength=10))[labels]
    return chances / chances.sum()


def _make_split(
    folder: Path, split: str, count: int, *, size: int, seed: list[int], imbalance: float, bar: tqdm
) -> None:
    (folder / split).mkdir()
    images, annotations = [], []
    for index in range(count):
        scene, objects = make_scene(
            split, size=size, rng=np.random.default_rng([*seed, index]), imbalance=imbalance
        )
        name = f"{index:05d}.jpg"
        Image.fromarray(scene).save(folder / split / name, quality=95)
        images.append({"id": index + 1, "file_name": name, "height": size, "width": size})
        for label, (x0, y0, x1, y1) in objects:
            annotations.append(
                _annotation(len(annotations) + 1, index + 1, label, [x0, y0, x1 - x0, y1 - y0])
            )
        bar.update()
    content = {
        "info": {"description": f"handwritten digits, {split} scenes"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": str(label)} for label in range(10)],
    }
    (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


def _annotation(number: int, image: int, label: int, box: list[int]) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": label + 1,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def make_scene(
    split: str, *, size: int, rng: np.random.Generator, imbalance: float = 1
) -> tuple[np.ndarray, list[tuple[int, tuple]]]:
    """One scene: (size, size, 3) uint8 and its objects as (digit, (x0, y0, x1, y1)). One in fifty
    has none."""
    digits, labels = split_digits(split)
    chances = None if imbalance == 1 else _chances(split, imbalance)
    scene = _background(size, rng)
    objects: list[tuple[int, tuple]] = []
    for _ in range(0 if rng.random() < 0.02 else int(rng.integers(2, 7))):
        index = int(rng.choice(len(digits), p=chances))
        ink = render_digit(digits[index], rng)
        place = _free_place(ink.shape, [box for _, box in objects], size, rng)
        if place is not None:
            x, y = place
            height, width = ink.shape
            window = scene[y : y + height, x : x + width]
            colour = _contrasting(window.mean(axis=(0, 1)), rng)
            window += ink[..., None] * (colour - window)
            objects.append((int(labels[index]), (x, y, x + width, y + height)))
    scene += rng.normal(0, rng.uniform(1, 8), scene.shape)
    return scene.clip(0, 255).astype(np.uint8), objects


def render_digit(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A digit (8, 8) drawn larger: its ink, (height, width) in [0, 1], cut tight."""
    framed = np.pad(digit, 1)  # strokes that touch the border of the 8x8 pixels end roundly
    picture = Image.fromarray((framed * 255).astype(np.uint8)).resize(
        (100, 100), Image.Resampling.BICUBIC
    )
    picture = picture.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
    picture = picture.crop(picture.point(lambda v: 255 if v > 130 else 0).getbbox())
    height = round(float(np.exp(rng.uniform(*np.log(HEIGHTS)))))
    width = max(6, round(height * picture.width / picture.height * rng.uniform(0.85, 1.2)))
    gray = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
    # A steeper ramp, or one that starts lower, closes the holes of 8, 6 and 9; one that starts
    # higher tears thin strokes.
    return ((gray - 110) / 100).clip(0, 1)


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A gradient between two colours, with strokes and blobs that are no digits."""
    ramp = np.linspace(0, 1, size)
    angle = rng.uniform(0, 2 * np.pi)
    mix = (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]) / 2 + 0.5
    first = rng.uniform(20, 235, 3)
    second = (first + rng.uniform(-50, 50, 3)).clip(0, 255)
    scene = first + mix[..., None] * (second - first)
    picture = Image.fromarray(scene.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 7))):
        colour = tuple(int(v) for v in (first + rng.uniform(-70, 70, 3)).clip(0, 255))
        x0, y0, x1, y1 = (int(v) for v in rng.uniform(-20, size + 20, 4))
        kind = rng.integers(3)
        if kind == 0:
            draw.line((x0, y0, x1, y1), fill=colour, width=int(rng.integers(1, 4)))
        elif kind == 1:
            box = (min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
            draw.arc(
                box,
                int(rng.integers(360)),
                int(rng.integers(360)),
                fill=colour,
                width=int(rng.integers(1, 4)),
            )
        else:
            radius = int(rng.integers(2, 9))
            draw.ellipse((x0 - radius, y0 - radius, x0 + radius, y0 + radius), fill=colour)
    return np.asarray(picture, dtype=np.float64).copy()


def _contrasting(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour about 70 gray levels or more lighter or darker than the ground."""
    brightness = ground.mean()
    lighter = rng.random() < 0.5 if 90 < brightness < 165 else brightness <= 90
    level = rng.uniform(brightness + 70, 255) if lighter else rng.uniform(0, brightness - 70)
    return (level + rng.uniform(-30, 30, 3)).clip(0, 255)


def _free_place(
    shape: tuple[int, int], boxes: list[tuple], size: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Upper left corner at which a box of ``shape`` overlaps no other by more than
    :data:`MAX_OVERLAP`; None after 20 tries."""
    height, width = shape
    if height >= size or width >= size:
        return None
    for _ in range(20):
        x, y = int(rng.integers(size - width)), int(rng.integers(size - height))
        if all(_overlap((x, y, x + width, y + height), box) <= MAX_OVERLAP for box in boxes):
            return x, y
    return None


def _overlap(a: tuple, b: tuple) -> float:
    """Shared area over the area of the smaller box."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
