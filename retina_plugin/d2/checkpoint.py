"""Detectron2's checkpointer, reading files safely and checking that the weights match."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from retina_plugin.checkpoint import (
    WeightsError,
    checkpoint_metadata,
    download_hint,
    local_file,
    match_for_training,
    match_parameters,
    metadata_of,
    read_checkpoint,
    warn_if_classes_differ,
)
from retina_plugin.checkpoint.sources import SCHEMES, is_address
from retina_plugin.config.tree import plain_leaves
from retina_plugin.d2.config import portable
from retina_plugin.data import image_options
from retina_plugin.engine.checkpoints import (
    newest_checkpoint,
    remove_old_checkpoints,
    write_checkpoint,
)
from retina_plugin.engine.resume import wrong_host_error
from retina_plugin.solver import WeightAverage

logger = logging.getLogger("retina_plugin")


def weights_file(path: str) -> str:
    """Return the path of a checkpoint on this machine.

    Addresses that this project supports are fetched as on Lightning. Detectron2's path manager
    fetches ``detectron2://`` and other addresses, with its cache and the handlers of users.

    Raises:
        WeightsError: the file does not exist, or the address cannot be fetched.
    """
    scheme = path.partition("://")[0]
    if scheme in SCHEMES and scheme != "detectron2":
        return local_file(path)
    path = path.partition("?")[0]  # Detectron2's options, which have no effect on reading here
    if not is_address(path):
        return local_file(path)
    try:
        found: str = PathManager.get_local_path(path)
    # the handlers raise URLError, OSError, KeyError, AssertionError, ...
    except Exception as error:
        raise WeightsError(
            f"MODEL.WEIGHTS {path} cannot be fetched: {error}. Get the file"
            f"{download_hint(path)} and give its path, or '' to start from scratch."
        ) from error
    return found


class CheckpointMetadata:
    """The entry "metadata" of every checkpoint: class names, pixel range, training data, config."""

    def __init__(
        self,
        class_names: list[str],
        model: torch.nn.Module,
        cfg: Any,
        training_data: Mapping[str, Any] | None = None,
    ) -> None:
        self.class_names, self.model, self.training_data = class_names, model, training_data
        self.pixel_range = image_options(cfg)["pixel_range"]
        self.config = plain_leaves(portable(cfg))

    def state_dict(self) -> dict[str, Any]:
        return checkpoint_metadata(
            self.class_names, self.model, self.pixel_range, self.training_data, self.config
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: keep the metadata of this run."""


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writing, safe reading, and an error for weights that do
    not match the model."""

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str,
        *,
        fine_tune: bool = False,
        average: WeightAverage | None = None,
        keep: int = 0,
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            model, save_dir: as in the base class.
            fine_tune: see :func:`retina_plugin.checkpoint.load_initial_weights`.
            average: averaged weights. They are "model" in each checkpoint, and the weights of
                ``model`` are "raw_model", from which training is resumed.
            keep: see :func:`retina_plugin.engine.checkpoints.remove_old_checkpoints`.
            checkpointables: as in the base class. With "trainer", :meth:`load` with an
                empty list of checkpointables loads the initial weights of a training. With
                "metadata", its class names are compared with those of each file that is loaded.
                A "budget" gets the time of each checkpoint.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.fine_tune, self.average, self.keep = fine_tune, average, keep
        self._path = ""  # path of the file that is being loaded
        self._initializes_training = self._resumes_training = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name``.pth; see :func:`retina_plugin.engine.checkpoints.write_checkpoint`."""
        if self.save_dir and self.save_to_disk:
            budget = self.checkpointables.get("budget")
            with budget.measure_checkpoint() if budget else contextlib.nullcontext():
                self._write(os.path.join(self.save_dir, f"{name}.pth"), kwargs)

    def _write(self, path: str, others: dict[str, Any]) -> None:
        parts = {"model": self.model, **self.checkpointables}
        content = {key: part.state_dict() for key, part in parts.items()}
        if self.average:
            content["model"] = self.average.averaged_state()
            content["raw_model"] = self.average.raw_state()
        write_checkpoint({**content, **others}, path)
        remove_old_checkpoints(path, self.keep)

    @functools.cached_property
    def _newest(self) -> str:
        """The path of the checkpoint that ``--resume`` continues from; "" without one."""
        report = logger.warning if comm.is_main_process() else logger.debug
        return newest_checkpoint(self.save_dir, report=report) or ""

    def has_checkpoint(self) -> bool:
        return bool(self._newest)

    def get_checkpoint_file(self) -> str:
        return self._newest

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint as the base class does.

        Raises:
            WeightsError: the file is missing, broken or of another model; or training is to be
                resumed and Lightning wrote the file.
        """
        self._path = path
        trains = "trainer" in self.checkpointables
        self._initializes_training = trains and checkpointables is not None
        self._resumes_training = trains and checkpointables is None
        file = weights_file(path) if path else path
        rest: dict[str, Any] = super().load(file, checkpointables)
        if self._resumes_training and "pytorch-lightning_version" in rest:
            raise wrong_host_error(path, "Lightning")
        return rest

    def _load_file(self, filename: str) -> dict[str, Any]:
        return read_checkpoint(filename)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        if self._initializes_training:
            match = match_for_training(self.model, checkpoint, self._path, fine_tune=self.fine_tune)
        else:
            match = match_parameters(self.model, checkpoint, self._path)
        average = checkpoint.pop("model")
        raw = checkpoint.pop("raw_model", None)
        if "metadata" in self.checkpointables and comm.is_main_process():
            warn_if_classes_differ(
                metadata_of(checkpoint), self.checkpointables["metadata"].class_names, self._path
            )
        match.load_into(self.model)
        if self.average and self._resumes_training:
            self.average.load(average)
            self.average.model.load_state_dict(raw or average)
        elif self.average:
            self.average.load(self.average.model.state_dict())
        if self._initializes_training and comm.is_main_process():
            print(match, flush=True)
