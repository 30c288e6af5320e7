"""Write all results into one file: JSON, CSV, or COCO's JSON."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Sequence
from typing import IO, Any

from retina_plugin.config.disk import disk_errors
from retina_plugin.config.files import write_atomically
from retina_plugin.config.printable import printable
from retina_plugin.inference.outputs.names import OutputNames
from retina_plugin.inference.outputs.output import Output
from retina_plugin.inference.result import Result


class _GrowingFile:
    """A text file that is written bit by bit, and has its name only when it is complete."""

    def __init__(self, path: str) -> None:
        root, suffix = os.path.splitext(path)
        self.path, self._draft = path, f"{root}.part{suffix}"
        with disk_errors(path):
            self._file: IO[str] = open(  # noqa: SIM115
                self._draft, "w", encoding="utf-8", newline=""
            )

    def write(self, text: str) -> int:
        with disk_errors(self.path):
            return self._file.write(text)

    def close(self, *, complete: bool) -> None:
        try:
            with disk_errors(self.path):
                self._file.close()
                if complete:
                    os.replace(self._draft, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._draft)


class JsonTable(Output):
    """A list with one line for each image or frame: its file and detections. Boxes are XYXY in
    pixels, rounded to 0.01."""

    place = "detections.json"

    def __init__(self, folder: str) -> None:
        self._file, self._separator = _GrowingFile(os.path.join(folder, self.place)), "[\n"

    def add(self, result: Result, name: str) -> None:
        self._file.write(f"{self._separator}{json.dumps(json_entry(result))}")
        self._separator = ",\n"

    def close(self, *, complete: bool) -> None:
        if complete:
            self._file.write("\n]\n" if self._separator == ",\n" else "[]\n")
        self._file.close(complete=complete)


def json_entry(result: Result) -> dict[str, Any]:
    """Return the entry of an image or frame for ``detections.json``."""
    rows = zip(
        result["boxes"].tolist(),
        result["scores"].tolist(),
        result["labels"].tolist(),
        result.names,
        strict=True,
    )
    detections = [
        {
            "box": [round(v, 2) for v in box],
            "score": round(score, 4),
            "label": label,
            "class": name,
        }
        for box, score, label, name in rows
    ]
    frame = {}
    if result.frame is not None and result.time is not None:
        frame = {"frame": result.frame, "time": round(result.time, 3)}
    return {"file": result.source, **frame, "detections": detections}


class CsvTable(Output):
    """A row for each detection."""

    place = "detections.csv"
    COLUMNS = ("file", "frame", "time", "x0", "y0", "x1", "y1", "score", "label", "class")

    def __init__(self, folder: str) -> None:
        self._file = _GrowingFile(os.path.join(folder, self.place))
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(self.COLUMNS)

    def add(self, result: Result, name: str) -> None:
        found = json_entry(result)
        for entry in found["detections"]:
            self._rows.writerow(
                (
                    printable(result.source),
                    found.get("frame", ""),
                    found.get("time", ""),
                    *entry["box"],
                    entry["score"],
                    entry["label"],
                    entry["class"],
                )
            )

    def close(self, *, complete: bool) -> None:
        self._file.close(complete=complete)


class CocoFile(Output):
    """A data set in COCO's format: images, categories with the ids 1..K, and the detections as
    annotations with a score.

    File names are relative to the folder that contains all inputs.
    """

    place = "coco.json"

    def __init__(self, folder: str, names: OutputNames, class_names: Sequence[str]) -> None:
        self._path, self._names = os.path.join(folder, self.place), names
        self._class_names = class_names
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, result: Result, name: str) -> None:
        number = len(self._images) + 1
        file = f"{name}.jpg" if result.frame is not None else self._names.relative(result.source)
        height, width = result.size
        self._images.append({"id": number, "file_name": file, "height": height, "width": width})
        for entry in result.to_coco(number):
            area = entry["bbox"][2] * entry["bbox"][3]
            number_of_box = len(self._annotations) + 1
            self._annotations.append({"id": number_of_box, **entry, "area": area, "iscrowd": 0})

    def close(self, *, complete: bool) -> None:
        if complete:
            categories = [{"id": i, "name": n} for i, n in enumerate(self._class_names, start=1)]
            content = {
                "images": self._images,
                "categories": categories,
                "annotations": self._annotations,
            }
            write_atomically(self._path, json.dumps(content))
