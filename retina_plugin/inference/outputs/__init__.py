"""Files that are written of results, by the names of ``retina predict --save``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from retina_plugin.inference.outputs.folders import Crops, Pictures, YoloLabels
from retina_plugin.inference.outputs.names import OutputNames
from retina_plugin.inference.outputs.output import Output
from retina_plugin.inference.outputs.tables import CocoFile, CsvTable, JsonTable
from retina_plugin.inference.source_files import Source
from retina_plugin.report import LabelMode


class Request(NamedTuple):
    """What is written, and where.

    Attributes:
        folder: the output folder, which exists.
        sources: all inputs.
        class_names: K names.
        names: the names of the inputs.
        labels: see :meth:`retina_plugin.inference.result.Result.plot`.
        shows_window: whether a window is open.
    """

    folder: str
    sources: Sequence[Source]
    class_names: Sequence[str]
    names: OutputNames
    labels: LabelMode
    shows_window: bool


def _pictures(request: Request) -> Output:
    return Pictures(
        request.folder,
        labels=request.labels,
        inputs=[source for source in request.sources if isinstance(source, str)],
        shows_window=request.shows_window,
    )


OUTPUTS: dict[str, Callable[[Request], Output]] = {
    "pictures": _pictures,
    "json": lambda request: JsonTable(request.folder),
    "csv": lambda request: CsvTable(request.folder),
    "coco": lambda request: CocoFile(request.folder, request.names, request.class_names),
    "yolo": lambda request: YoloLabels(request.folder, request.class_names),
    "crops": lambda request: Crops(request.folder, request.class_names),
}
