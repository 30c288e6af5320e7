"""Generate the digits data set, a small detection data set that needs no download.

A scene has some of the 1797 handwritten digits that come with scikit-learn (8x8 pixels, UCI
"Optical Recognition of Handwritten Digits") in random sizes, colours and contrasts, on a background
of gradients, noise and random strokes. Training and test scenes have different digits. The same
seed gives the same scenes. In the long-tailed variant, the frequency of classes in training scenes
falls by a constant factor from class 0 to class 9; test scenes are those of the balanced variant.
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

from retina_plugin.config.cache import VARIABLE, cache_folder
from retina_plugin.data.errors import DatasetError

VERSION = 2  # of this generator; part of the folder name
NUM_TRAIN, NUM_TEST, SIZE, SEED = 1600, 200, 160, 0
HEIGHTS = (18, 64)  # range of a digit's height, pixels
MAX_OVERLAP = 0.15  # of two boxes, as a fraction of the smaller area

Box = tuple[int, int, int, int]  # XYXY


def digits_dataset(split: str, *, imbalance: int = 1) -> tuple[str, str]:
    """Return annotation file and image folder of the default scenes.

    The first call generates them, which takes some seconds.

    Args:
        split: "train" or "test".
        imbalance: see :func:`make_digits`.

    Returns:
        Two paths in :func:`retina_plugin.config.cache.cache_folder`.
    """
    kind = "" if imbalance == 1 else f"-imbalance{imbalance}"
    folder = Path(cache_folder()) / f"digits-v{VERSION}-{NUM_TRAIN}-{NUM_TEST}-{SIZE}-{SEED}{kind}"
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
    """Generate ``train.json``, ``test.json`` and their images in a new folder.

    The folder appears only when it is complete.

    Args:
        folder: must not exist. If another process creates it first, that result is kept.
        num_train, num_test: numbers of scenes.
        size: height and width of a scene, pixels.
        seed: random seed.
        imbalance: frequency of class 0 divided by that of class 9 in the training scenes; the
            classes between follow a geometric sequence. Test scenes are always balanced.

    Raises:
        DatasetError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
            temporary = Path(parent) / folder.name
            temporary.mkdir()
            with tqdm(
                total=num_train + num_test, desc="making digit scenes", unit="scene", leave=False
            ) as bar:
                for number, (split, count, ratio) in enumerate(
                    (("train", num_train, imbalance), ("test", num_test, 1))
                ):
                    _make_split(
                        temporary,
                        split,
                        count,
                        size=size,
                        seed=[seed, number],
                        imbalance=ratio,
                        bar=bar,
                    )
            os.replace(temporary, folder)
    except OSError as error:
        if not folder.is_dir():
            raise DatasetError(
                f"digit scenes cannot be written to {folder}: {error.strerror}. "
                f"Set the environment variable {VARIABLE} to a folder that can be written "
                "to."
            ) from error


@functools.cache
def split_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits of a split: images (D, 8, 8) float in [0, 1] and labels (D,).

    Every fifth digit of each class is in the test split.
    """
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    position = np.empty(len(digits.target), dtype=np.int64)
    for label in range(10):
        members = np.flatnonzero(digits.target == label)
        position[members] = np.arange(len(members))
    chosen = (position % 5 == 4) == (split == "test")
    images, labels = digits.images[chosen] / 16, digits.target[chosen]
    return images, labels


@functools.cache
def _digit_probabilities(split: str, imbalance: float) -> np.ndarray:
    """Return the probability (D,) of drawing each digit of a split, such that class c is drawn in
    proportion to ``imbalance ** (-c / 9)``."""
    labels = split_digits(split)[1]
    probabilities = (imbalance ** (-np.arange(10) / 9) / np.bincount(labels, minlength=10))[labels]
    result: np.ndarray = probabilities / probabilities.sum()
    return result


def _make_split(
    folder: Path,
    split: str,
    count: int,
    *,
    size: int,
    seed: list[int],
    imbalance: float,
    bar: tqdm[Any],
) -> None:
    (folder / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
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
) -> tuple[np.ndarray, list[tuple[int, Box]]]:
    """Generate a scene (size, size, 3) uint8 RGB and its objects as (digit, XYXY box).

    One scene in fifty has no objects.
    """
    digits, labels = split_digits(split)
    probabilities = None if imbalance == 1 else _digit_probabilities(split, imbalance)
    scene = _background(size, rng)
    objects: list[tuple[int, Box]] = []
    for _ in range(0 if rng.random() < 0.02 else int(rng.integers(2, 7))):
        index = int(rng.choice(len(digits), p=probabilities))
        ink = render_digit(digits[index], rng)
        position = _free_position(ink.shape, [box for _, box in objects], size, rng)
        if position is not None:
            x, y = position
            height, width = ink.shape
            window = scene[y : y + height, x : x + width]
            colour = _contrasting_colour(window.mean(axis=(0, 1)), rng)
            window += ink[..., None] * (colour - window)
            objects.append((int(labels[index]), (x, y, x + width, y + height)))
    scene += rng.normal(0, rng.uniform(1, 8), scene.shape)
    return scene.clip(0, 255).astype(np.uint8), objects


def render_digit(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Enlarge and rotate a digit (8, 8); return its opacity (height, width) in [0, 1], cropped."""
    framed = np.pad(digit, 1)  # gives strokes that touch the border of the 8x8 pixels round ends
    image = Image.fromarray((framed * 255).astype(np.uint8)).resize(
        (100, 100), Image.Resampling.BICUBIC
    )
    image = image.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
    image = image.crop(image.point(lambda v: 255 if v > 130 else 0).getbbox())
    height = round(float(np.exp(rng.uniform(*np.log(HEIGHTS)))))
    width = max(6, round(height * image.width / image.height * rng.uniform(0.85, 1.2)))
    gray = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
    # a lower or steeper ramp closes the holes of 8, 6 and 9; a higher one breaks thin strokes
    ink: np.ndarray = ((gray - 110) / 100).clip(0, 1)
    return ink


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a gradient between two colours, with random strokes and blobs."""
    ramp = np.linspace(0, 1, size)
    angle = rng.uniform(0, 2 * np.pi)
    mix = (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]) / 2 + 0.5
    first = rng.uniform(20, 235, 3)
    second = (first + rng.uniform(-50, 50, 3)).clip(0, 255)
    scene = first + mix[..., None] * (second - first)
    image = Image.fromarray(scene.astype(np.uint8))
    draw = ImageDraw.Draw(image)
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
    background: np.ndarray = np.asarray(image, dtype=np.float64).copy()
    return background


def _contrasting_colour(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a colour that is about 70 gray levels or more lighter or darker than the background."""
    brightness = float(background.mean())
    lighter = rng.random() < 0.5 if 90 < brightness < 165 else brightness <= 90
    level = rng.uniform(brightness + 70, 255) if lighter else rng.uniform(0, brightness - 70)
    colour: np.ndarray = (level + rng.uniform(-30, 30, 3)).clip(0, 255)
    return colour


def _free_position(
    shape: tuple[int, int], boxes: list[Box], size: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw an upper left corner where a box of ``shape`` overlaps no other by more than
    :data:`MAX_OVERLAP`; return None after 20 tries."""
    height, width = shape
    if height >= size or width >= size:
        return None
    for _ in range(20):
        x, y = int(rng.integers(size - width)), int(rng.integers(size - height))
        if all(_overlap((x, y, x + width, y + height), box) <= MAX_OVERLAP for box in boxes):
            return x, y
    return None


def _overlap(a: Box, b: Box) -> float:
    """Return the area of the intersection divided by the area of the smaller box."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
