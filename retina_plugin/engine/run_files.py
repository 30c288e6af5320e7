"""Check that the paths that a run needs in ``OUTPUT_DIR`` can be used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import TEMPORARY_NAME, require_regular_file
from retina_plugin.data import evaluated_sets
from retina_plugin.engine.folder_lock import NAME as LOCK
from retina_plugin.evaluation.results import RESULTS_FILE, results_folder
from retina_plugin.evaluation.unfiltered import UNFILTERED_FILE

NAMES = re.compile(
    rf"config(_final)?\.yaml|metrics\.json|last_checkpoint|model_.+\.pth|log\.txt(\.rank\d+)?"
    rf"|predictions\.png|run\.json|trackers\.json|report\.html|report_label_errors\.csv"
    rf"|{re.escape(LOCK)}|{TEMPORARY_NAME.pattern}"
)


def require_usable_run_files(cfg: Any) -> None:
    """Check that existing paths that the run will use are regular files or folders, as needed.

    Otherwise the run would wait for a FIFO, read a device without end, or fail after hours when it
    writes to a path that is a folder.

    Raises:
        ConfigError: a path is of another kind; the message has the path.
    """
    results = [results_folder(cfg, name) for name in evaluated_sets(cfg)]
    for folder in (cfg.OUTPUT_DIR, os.path.join(cfg.OUTPUT_DIR, "inference"), *results):
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise ConfigError(f"{folder} is not a folder. {_remedy(cfg)}")
    files = [os.path.join(f, name) for f in results for name in (RESULTS_FILE, UNFILTERED_FILE)]
    for path in (*_named(cfg.OUTPUT_DIR), *files):
        try:
            require_regular_file(path)
        except FileNotFoundError:  # or a broken link
            continue
        except OSError as error:
            cause = error.strerror or error
            raise ConfigError(f"{path} cannot be used: {cause}. {_remedy(cfg)}") from error


def _named(folder: str) -> Iterator[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return (os.path.join(folder, name) for name in sorted(names) if NAMES.fullmatch(name))


def _remedy(cfg: Any) -> str:
    return f"The run needs this path in OUTPUT_DIR {cfg.OUTPUT_DIR}: move it away, or take another"
