"""TorchScript files by tracing: write a network, and run it with torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.export.errors import ExportError
from retina_plugin.export.extra_file import METADATA, from_extra_file, to_extra_file


def write(
    network: nn.Module,
    path: str,
    *,
    example: Tensor,
    names: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    """Write a TorchScript file; batch size, height and width are dynamic.

    Args:
        network, path, example, names, metadata: see :func:`retina_plugin.export.onnx_format.write`.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about sizes, and that it is deprecated
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # in torch
            network, (example,), check_trace=False
        )
        content = io.BytesIO()  # torch ends the process if a file cannot be written
        torch.jit.save(traced, content, _extra_files=to_extra_file(metadata, names))
    with open(path, "wb") as file:
        file.write(content.getbuffer())


class TorchScriptSession:
    """Runs a TorchScript file on the CPU."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            ExportError: the file cannot be read.
        """
        files = {METADATA: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is deprecated
                self._module = torch.jit.load(  # type: ignore[no-untyped-call]  # in torch
                    path, map_location="cpu", _extra_files=files
                )
        except (RuntimeError, ValueError) as error:
            raise ExportError(
                f"{path} cannot be read as TorchScript: {str(error).splitlines()[0]:.200}"
            ) from error
        self.metadata, self._names = from_extra_file(files)

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`retina_plugin.export.session.Session`."""
        # The first runs of a profiling executor are slow, and each new size starts it again.
        profiling: Any = torch.jit.optimized_execution  # type: ignore[attr-defined]  # public
        with torch.no_grad(), profiling(False):
            return dict(zip(self._names, self._module(images), strict=True))
