"""Run the main function of a tool: turn user errors into one message and set the exit code.

Also counts input files that cannot be used, so that tools can skip them.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from traceback import walk_tb
from typing import Any

import torch

from retina_plugin.data import DatasetError
from retina_plugin.engine import stopping

# Errors that a user can fix: wrong values and names, missing files and packages, too little memory,
# a loss that became NaN.
USER_ERRORS = (
    ValueError,
    KeyError,
    OSError,
    ImportError,
    FloatingPointError,
    MemoryError,
    torch.OutOfMemoryError,
)
LOST_WORKER = (
    "a process that loads images {}was killed, most often because memory ran out. Lower "
    "DATALOADER.NUM_WORKERS or SOLVER.IMS_PER_BATCH, and continue with --resume."
)
# Texts of torch's RuntimeErrors after a lost process or too little memory -> the message for the
# user.
LOST_PROCESS_MESSAGES = (
    (
        re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)"),
        LOST_WORKER.format("(pid {}) "),
    ),
    (
        re.compile(r"(Connection (?:closed|reset) by peer|remote process exited)"),
        "another rank has ended ({}). Read the output on its machine, and continue with --resume.",
    ),
    (re.compile(r"can't allocate memory: (.*)"), "memory ran out: {}"),
)
ERROR_DELAY = 3.0  # seconds before a rank reports an error that another rank may have caused
INTERRUPTED = "interrupted; files that were written before are complete"


def run(main: Callable[[], Any], *, rank: int | None = None, program: bool | None = None) -> None:
    """Call ``main`` and turn its errors into a message and an exit code.

    Returns if ``main`` returns. An error that the user can fix is printed to standard error as
    ``error: ...``, and the exit code is 2. It is 130 after Ctrl-C and 143 after SIGTERM. Other
    errors are raised. With the environment variable ``RETINA_PLUGIN_TRACEBACK=1`` all errors are
    raised, so that their traceback is shown.

    Args:
        main: the function to call.
        rank: the rank of this process on this machine, None if there is one process. Ranks above 0
            wait before they print an error, because rank 0 should print it; see
            :mod:`retina_plugin.engine.ranks`.
        program: whether the process ends after this call; None: only if ``main`` is defined in
            ``__main__``.

    Raises:
        SystemExit: after an error that was printed, or a signal.
    """
    if program is None:
        program = main.__module__ == "__main__"
    try:
        with stopping.handle_signals():
            main()
    except KeyboardInterrupt as error:
        if program:  # a further signal must not change the exit code
            stopping.ignore_signals()
        sys.exit(
            _interrupted(
                error, silent=rank is not None and (rank > 0 or stopping.immediate_stop_requested())
            )
        )
    except Exception as error:
        # Wait: if another rank has failed, the supervisor reports it and kills this process.
        if rank or (rank == 0 and isinstance(error, RuntimeError)):
            time.sleep(ERROR_DELAY)
        message = user_message(error)
        if os.environ.get("RETINA_PLUGIN_TRACEBACK") == "1" or message is None:
            raise
        if rank:
            print(file=sys.stderr)  # ends the line of rank 0's progress bar
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _interrupted(error: KeyboardInterrupt, *, silent: bool) -> int:
    """Print the message of an interrupted run unless ``silent``, and return the exit code."""
    message = getattr(error, "message", "")
    if message is not None and not silent:
        print(message or INTERRUPTED, file=sys.stderr)
    return error.exit_code if isinstance(error, stopping.Interrupted) else 130


def user_message(error: BaseException) -> str | None:
    """Return the message of an error that a user can fix, or None for any other error.

    The message of a KeyError is returned without quotes, and the message of a loader's worker
    process without its traceback.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, RuntimeError):
        for pattern, message in LOST_PROCESS_MESSAGES:
            found = pattern.search(text)
            if found:
                return message.format(found[1])
    if _is_lost_worker(error):
        return LOST_WORKER.format("")
    if not isinstance(error, USER_ERRORS):
        return None
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].split(": ", 1)[-1]
    return text or type(error).__name__


def _is_lost_worker(error: BaseException) -> bool:
    """Return whether the connection to a loader's worker process broke.

    If a worker is killed while it sends a batch, its socket closes before the system reports its
    end. Then torch raises no RuntimeError, and multiprocessing's error is seen instead.
    """
    if not isinstance(error, (ConnectionError, EOFError)):
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith("multiprocessing.")


class SkippedFiles:
    """Context manager that suppresses and counts DatasetErrors, so that a tool skips such files.

    Example:
        >>> skipped = SkippedFiles()
        >>> for path in ["a.jpg", "broken.jpg"]:
        ...     with skipped:
        ...         read_image(path)
        >>> skipped.report(2)
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __enter__(self) -> None:
        """Start processing the next file."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, DatasetError):
            self.reasons.append(str(error))
        return isinstance(error, DatasetError)

    def report(self, total: int) -> None:
        """Print how many of ``total`` files were skipped; print nothing if none was skipped.

        Raises:
            DatasetError: all files were skipped.
        """
        if not self.reasons:
            return
        if len(self.reasons) == total:
            raise DatasetError(self.reasons[0])
        print(
            f"warning: {len(self.reasons)} of {total} files were skipped (first: {self.reasons[0]})"
        )
