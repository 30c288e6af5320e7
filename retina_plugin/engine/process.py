"""How every tool behaves: it reports a mistake of the user in one message, and counts and leaves
out files that cannot be used."""

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

# What a user can put right: bad values and names, missing files and packages, a loss that became
# NaN.
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
# What torch says, as a RuntimeError, when another process or memory is gone -> the message for
# the user.
LOST_PROCESS_MESSAGES = (
    (
        re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)"),
        LOST_WORKER.format("(pid {}) "),
    ),
    (
        re.compile(r"(Connection (?:closed|reset) by peer|remote process exited)"),
        "another rank is gone ({}). See what its machine says, and continue with --resume.",
    ),
    (re.compile(r"can't allocate memory: (.*)"), "memory ran out: {}"),
)
ERROR_DELAY = 3.0  # seconds in which an error of another rank may turn out to be the cause
INTERRUPTED = "interrupted; what was written before is whole"


def run(main: Callable[[], Any], *, rank: int | None = None, program: bool | None = None) -> None:
    """Call ``main`` and exit: 0, or 2 after ``error: ...`` on standard error, 130 after Ctrl-C, 143
    after SIGTERM.

    The environment variable ``RETINA_PLUGIN_TRACEBACK=1`` shows where an error comes from.

    Args:
        rank: of one of several processes, of which rank 0 speaks first and the others only when it
            is silent; see :mod:`retina_plugin.engine.ranks`.
        program: the process ends with this call; None if ``main`` belongs to ``__main__``.
    """
    if program is None:
        program = main.__module__ == "__main__"
    try:
        with stopping.handle_signals():
            main()
    except KeyboardInterrupt as error:
        if program:  # its last seconds must not change the code
            stopping.ignore_signals()
        sys.exit(
            _interrupted(
                error, silent=rank is not None and (rank > 0 or stopping.immediate_stop_requested())
            )
        )
    except Exception as error:
        # Often another rank is gone; the supervisor, who knows, then ends this process meanwhile.
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
    """Say what became of the work, unless another process does; the exit code."""
    message = getattr(error, "message", "")
    if message is not None and not silent:
        print(message or INTERRUPTED, file=sys.stderr)
    return getattr(error, "exit_code", 130)


def user_message(error: BaseException) -> str | None:
    """What an error says: the words of a KeyError without quotes, of a loader's worker process
    without its traceback.

    Returns:
        None for an error that a user cannot put right.
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

    A worker that is killed while it passes a batch on closes its socket before the system reports
    its end. Then torch raises no RuntimeError, but the error of Python's multiprocessing.
    """
    if not isinstance(error, (ConnectionError, EOFError)):
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith("multiprocessing.")


class SkippedFiles:
    """Counts files that cannot be used, so that one of them does not end a tool.

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
        """Begin with the next file."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, DatasetError):
            self.reasons.append(str(error))
        return isinstance(error, DatasetError)

    def report(self, total: int) -> None:
        """Print how many of ``total`` files were left out, if any.

        Raises:
            DatasetError: all of them.
        """
        if not self.reasons:
            return
        if len(self.reasons) == total:
            raise DatasetError(self.reasons[0])
        print(
            f"warning: {len(self.reasons)} of {total} files were left out (first: "
            f"{self.reasons[0]})"
        )
