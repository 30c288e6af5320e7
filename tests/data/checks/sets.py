"""A clean data set of twelve images; tests break single things in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.checks import NetworkView, check_datasets

WIDTH, HEIGHT = 64, 48
VIEW = NetworkView(HEIGHT, WIDTH, detections=100)  # images keep their size


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A smooth random image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


class Scene:
    """COCO lists and image files in a folder.

    Image ``i`` is ``i.png``; its annotations are ``2 i`` (class ant) and ``2 i + 1`` (class bee).
    """

    def __init__(self, folder: Path, *, first_seed: int = 0) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
        for i in range(12):
            self.add_image(i, picture(first_seed + i))
            self.add_box(i, 1, [2 + i, 3, 20, 15])
            self.add_box(i, 2, [30, 2 + i, 12, 14])

    def add_image(self, number: int, image: Image.Image, **save: Any) -> Path:
        path = self.folder / "images" / f"{number}.png"
        image.save(path, **save)
        width, height = image.size
        self.images.append({"id": number, "file_name": path.name, "width": width, "height": height})
        return path

    def add_box(self, image: int, label: int, box: list[float], **others: Any) -> None:
        number = len(self.annotations)
        entry = {"id": number, "image_id": image, "category_id": label, "bbox": box, **others}
        self.annotations.append(entry)

    def path(self, number: int) -> Path:
        return self.folder / "images" / f"{number}.png"

    def write(self) -> str:
        """Write the JSON file; returns the name of the data set."""
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }
        (self.folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
        return f"{self.folder / 'a.json'}@{self.folder / 'images'}"


def found(*names: str, view: NetworkView | None = VIEW) -> dict[str, list[Any]]:
    """Check data sets; {rule: [annotation, or name of the file if there is none]}."""
    result = check_datasets(names, None if view is None else lambda _: view, show=False)
    rules: dict[str, list[Any]] = {}
    for finding in result.findings:
        place = Path(finding.file).name if finding.annotation is None else finding.annotation
        rules.setdefault(finding.rule, []).append(place)
    return rules
