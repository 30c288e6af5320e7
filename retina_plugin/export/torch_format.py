"""Files of ``torch.export``: write a network, and run it with torch."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.export.errors import ExportError
from retina_plugin.export.extra_file import METADATA, from_extra_file, to_extra_file

MOST_IMAGES, MOST_CELLS = 1024, 1024  # limits of the batch size, and of a side in strides

# torch assumes that no level has only one row or column, and newer versions check that; the result
# is right without it.
_WITHOUT_GUARDS: dict[str, Any] = (
    {"check_guards": False}
    if "check_guards" in inspect.signature(torch.export.ExportedProgram.module).parameters
    else {}
)


def write(
    network: nn.Module,
    path: str,
    *,
    example: Tensor,
    names: Sequence[str],
    metadata: Mapping[str, str],
    stride: int,
) -> None:
    """Write a file of ``torch.export``; batch size, height and width are dynamic.

    Args:
        network, path, example, names, metadata: see :func:`retina_plugin.export.onnx_format.write`.
            ``example`` needs at least two images and different sides.
        stride: divisor of height and width.
    """
    dim: Any = torch.export.Dim
    sizes = {
        0: dim("batch", max=MOST_IMAGES),
        2: stride * dim("rows", max=MOST_CELLS),
        3: stride * dim("columns", max=MOST_CELLS),
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network, (example,), dynamic_shapes={"images": sizes}, strict=False
        )
        content = io.BytesIO()  # torch ends the process if a file cannot be written
        torch.export.save(program, content, extra_files=to_extra_file(metadata, names))
    with open(path, "wb") as file:
        file.write(content.getbuffer())


class TorchSession:
    """Runs a file of ``torch.export`` on the CPU."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            ExportError: the file cannot be read.
        """
        files = {METADATA: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(path, extra_files=files)
                self._module = program.module(**_WITHOUT_GUARDS)
        # a file of another kind raises errors of many classes
        except Exception as error:
            raise ExportError(
                f"{path} cannot be read by torch.export: {str(error).splitlines()[0]:.200}"
            ) from error
        self.metadata, self._names = from_extra_file(files)

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`retina_plugin.export.session.Session`."""
        with torch.no_grad():
            return dict(zip(self._names, self._module(images), strict=True))
