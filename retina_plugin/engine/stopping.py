"""End a run on Ctrl-C or SIGTERM after the current step; a second Ctrl-C ends it at once.

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
REPEAT_SECONDS = 0.3  # shells and `timeout` send one signal twice: to the process and its group
NOTICE = b"\nstopping after this step (Ctrl-C again: at once, without a checkpoint)\n"

EVALUATION_STOPPED = (
    "stopped during the evaluation; nothing was lost, and the same command starts it again"
)


class Interrupted(KeyboardInterrupt):
    """Raised when a signal ends the run.

    Args:
        number: the number of the signal.
        message: the message to print; empty for a default message, None if another process has
            printed one.
    """

    def __init__(self, number: int, message: str | None = "") -> None:
        super().__init__(number)
        self.number, self.message = number, message

    @property
    def exit_code(self) -> int:
        """The exit code that shells use: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


class _State:
    """The signals that this process has received.

    A forked process inherits the values, but its pid differs, so the handlers do nothing there.
    """

    pid = 0  # the process that has installed the handlers; 0: none
    signal = 0  # the first signal; 0: none
    again = False  # whether a second signal has ended the run at once
    time = 0.0  # when the last signal came
    depth = 0  # nesting depth of defer_signals()
    protected = 0  # pid of the worker process that has called protect_worker_from_signals()


_state = _State()


def requested_signal() -> int:
    """Return the number of the signal that this process has received, or 0."""
    return _state.signal


def immediate_stop_requested() -> bool:
    """Return whether a second signal has ended the run at once, without a checkpoint.

    That is a second Ctrl-C, or any second signal outside :func:`defer_signals`.
    """
    return _state.again


def raise_if_requested(message: str | None = "") -> None:
    """Raise :class:`Interrupted` with ``message`` if a signal has been received."""
    if _state.signal:
        raise Interrupted(_state.signal, message)


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM as this module describes; on exit, restore the old handlers."""
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
    """Ignore Ctrl-C and SIGTERM from now on; for a process that is ending."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def block_signals() -> None:
    """Block signals until :func:`install_handlers`, while a library sets its own handlers.

    Does nothing outside :func:`handle_signals`.
    """
    if _handles_here():
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def install_handlers() -> None:
    """Install the handlers again after a library has replaced them, and unblock the signals.

    Does nothing outside :func:`handle_signals`.
    """
    if _handles_here():
        for number in SIGNALS:
            signal.signal(number, _receive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _handles_here() -> bool:
    return _state.pid == os.getpid() and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Let the first signal in the block only set a flag, so that the caller can finish its step.

    The caller reads :func:`requested_signal` in the block, and calls :func:`raise_if_requested`
    after it.
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
    first, repeated = not _state.signal, now - _state.time < REPEAT_SECONDS
    if not first and (repeated or (_state.depth and number == signal.SIGTERM)):
        return  # a second SIGTERM must not skip the checkpoint; a second Ctrl-C does
    _state.time, _state.signal, _state.again = now, _state.signal or number, not first
    if not (first and _state.depth):
        raise Interrupted(_state.signal)
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, NOTICE)  # print() is not safe here: the signal may have interrupted a print()


def requested_on_any_rank() -> int:
    """Return the signal that any rank has received, or 0; every rank must call this.

    Afterwards :func:`requested_signal` returns the same on all ranks.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor([_state.signal], device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        _state.signal = _state.signal or int(flag)
    return _state.signal


class StoppableLoader:
    """Wraps a data loader; iteration ends early after a signal.

    Args:
        loader: a loader that has a length.
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
    """Return the message of a run that a signal has stopped.

    Args:
        step: the number of completed steps.
        steps: ``SOLVER.MAX_ITER``.
        path: the checkpoint that was saved.
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
    """Keep a loader's worker process running when a signal is sent to the whole process group.

    The main process can then finish its step and save a checkpoint. Call this in the worker; a
    second call changes nothing. Ctrl-C is ignored. SIGTERM ends the worker only if the main process
    has sent it, which torch does at the end of a loader.
    """
    if _state.protected == os.getpid() or not hasattr(signal, "sigwaitinfo"):
        return
    _state.protected = os.getpid()
    sys.excepthook = _hide_connection_errors
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _hide_connection_errors(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print the traceback of an uncaught error, unless the error is a lost connection.

    Threads that send tensors lose their connection when the main process has ended. The worker then
    ends anyway.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
