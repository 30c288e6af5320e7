"""End a run on Ctrl-C or SIGTERM after the step under way; a second Ctrl-C ends it at once.

Inside :func:`defer_signals` a signal sets a flag, which the run reads between steps and between
images; elsewhere it raises :class:`Interrupted`. Only :func:`handle_signals` installs the handlers,
so importing this package changes none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_EVENT = 0.3  # seconds; `timeout` and shells send a signal to the process and to its group
NOTICE = b"\nstopping after this step (Ctrl-C again: at once, without a checkpoint)\n"

EVALUATION_STOPPED = (
    "stopped during the evaluation; nothing was lost, and the same command starts it again"
)


class Interrupted(KeyboardInterrupt):
    """A signal ends the run.

    Args:
        number: of the signal.
        message: for the user; empty for the usual words, None where another process has printed it.
    """

    def __init__(self, number: int, message: str | None = "") -> None:
        super().__init__(number)
        self.number, self.message = number, message

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, as shells count."""
        return 128 + self.number


class _State:
    """Of this process; a forked one has another ``pid`` and ignores its signals."""

    pid = 0  # of the process that handles signals; 0: none does
    signal = 0  # the first signal; 0: none
    again = False  # Ctrl-C was pressed once more
    time = 0.0  # of the last signal
    depth = 0  # of nested defer_signals()
    protected = 0  # the worker process in which protect_worker_from_signals() has run


_state = _State()


def requested_signal() -> int:
    """The signal that asks this run to stop; 0 for none."""
    return _state.signal


def immediate_stop_requested() -> bool:
    """Whether Ctrl-C was pressed again, so that nothing more is to be written."""
    return _state.again


def raise_if_requested(message: str | None = "") -> None:
    """
    Raises:
        Interrupted: a signal has come; with ``message``.
    """
    if _state.signal:
        raise Interrupted(_state.signal, message)


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM as this module says; afterwards the handlers are what they were."""
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    _state.pid, _state.signal, _state.again, _state.depth = os.getpid(), 0, False, 0
    install_handlers()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _state.pid, _state.signal = 0, 0
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore signals from now on; for a process that is ending."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def block_signals() -> None:
    """Block signals until :func:`install_handlers`, while a library sets its own handlers.

    Does nothing outside :func:`handle_signals`.
    """
    if _handles_here():
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def install_handlers() -> None:
    """Take the handlers back from a library that has set its own; nothing outside of
    :func:`handle_signals`."""
    if _handles_here():
        for number in SIGNALS:
            signal.signal(number, _receive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _handles_here() -> bool:
    return _state.pid == os.getpid() and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Let the first signal set the flag only.

    The caller reads :func:`requested_signal` inside, and calls :func:`raise_if_requested` after it.
    """
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1


def _receive(number: int, frame: Any) -> None:
    if _state.pid != os.getpid():  # a worker process that was forked just now
        return
    now = time.monotonic()
    first, repeated = not _state.signal, now - _state.time < ONE_EVENT
    if not first and (repeated or (_state.depth and number == signal.SIGTERM)):
        return  # whoever sends SIGTERM twice does not mean "without a checkpoint"
    _state.time, _state.signal, _state.again = now, _state.signal or number, not first
    if not (first and _state.depth):
        raise Interrupted(_state.signal)
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, NOTICE)  # print() may be under way in the code that was interrupted


def requested_on_any_rank() -> int:
    """:func:`requested_signal` of any rank, from now on of all; every rank must call it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor([_state.signal], device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        _state.signal = _state.signal or int(flag)
    return _state.signal


class StoppableLoader:
    """A loader that ends early when a signal has come.

    Args:
        loader: with a length.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if _state.signal:
                return
            yield batch


def stopped_message(step: int, steps: int, path: str) -> str:
    """What a training that was stopped says.

    Args:
        step: steps that are done.
        steps: ``SOLVER.MAX_ITER``.
        path: of its checkpoint.
    """
    if step >= steps:
        return (
            f"stopped during the evaluation after all {steps} steps; continue with --resume, which "
            f"evaluates {path}"
        )
    return (
        f"stopped at step {step} of {steps}; continue with --resume and the same arguments "
        f"(checkpoint: {path})"
    )


def protect_worker_from_signals(*_: Any) -> None:
    """Keep signals that go to the whole process group from a process that loads images, so that a
    checkpoint can be saved first.

    Call it in the worker process; a second call changes nothing. Ctrl-C is ignored. SIGTERM ends
    the worker only where the main process sent it, as torch does at the end of a loader.
    """
    if _state.protected == os.getpid() or not hasattr(signal, "sigwaitinfo"):
        return
    _state.protected = os.getpid()
    sys.excepthook = _hide_connection_errors
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _hide_connection_errors(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Threads that hand tensors over call this when the main process is gone, and the worker ends
    anyway."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
