"""Write the files of a planned run, or remove them. Existing files are not replaced unasked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import write_atomically
from retina_plugin.data.data_path import parse_data_path
from retina_plugin.data.evaluation_sets import DATASET_KEYS
from retina_plugin.engine.output_folder import make_folder
from retina_plugin.engine.plan.choose_data import ChosenData
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.portable_names import portable_name


@dataclass(frozen=True)
class PlannedRun:
    """A plan and its data, before anything is written.

    Attributes:
        path: the file to which the plan will be written.
        plan: the values of the plan.
        data: the data sets and the COCO files that the plan names.
    """

    path: str
    plan: Plan
    data: ChosenData

    def write(self) -> None:
        """Write the plan and the COCO files beside it. An error leaves none of them.

        Raises:
            ConfigError: the folder cannot be made.
            DiskError: a file cannot be written.
        """
        make_folder(os.path.dirname(self.path) or os.curdir, key="folder")
        with _removed_on_error(*self.data.files):
            self.data.write_files()
            write_atomically(self.path, self.plan.with_entries(self._portable_entries()).text())
        print(f"plan: {self.path}", flush=True)

    def remove(self) -> None:
        """Remove the files that :meth:`write` has written."""
        _remove([self.path, *self.data.files])

    def _portable_entries(self) -> list[Entry]:
        """Return the entries that name data sets, with paths relative to the folder of the plan."""
        folder = os.path.dirname(self.path)
        return [
            dataclasses.replace(entry, value=[portable_name(n, folder) for n in entry.value])
            for entry in self.plan.entries
            if entry.key in DATASET_KEYS
        ]


@contextlib.contextmanager
def _removed_on_error(*paths: str) -> Iterator[None]:
    """Remove files if the block, which writes them, raises an error."""
    try:
        yield
    except BaseException:
        _remove(paths)
        raise


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def require_free(paths: Sequence[str], data: Sequence[str], *, overwrite: bool) -> None:
    """Check that a plan may write its files.

    Args:
        paths: the files.
        data: names of the data sets from which the run is planned.
        overwrite: whether other existing files may be replaced.

    Raises:
        ConfigError: a file exists and may not be replaced, or is the data of the run.
    """
    found = next(filter(os.path.lexists, paths), None)
    if found is None:
        return
    if not overwrite:
        raise ConfigError(f"{found} exists: give --overwrite to replace it, or another --output")
    used = {os.path.realpath(where.path) for name in data if (where := parse_data_path(name))}
    for path in paths:
        if os.path.realpath(path) in used:
            raise ConfigError(
                f"--overwrite would replace {path}, which is the data of the run: give another "
                "--output"
            )
