"""Run one process per GPU on this machine; if one of them fails, end the others with one message.

The process that the user started only supervises the ranks. It takes no part in collective
operations, so it never waits for a rank that has failed.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import (
    active_children,
    connection,
    get_start_method,
    resource_tracker,
    set_start_method,
)
from typing import Any

import torch

from retina_plugin.engine import stopping
from retina_plugin.engine.host import Request

# how long ranks wait for one that works alone, for example on an evaluation
TIMEOUT = datetime.timedelta(minutes=30)
# Seconds until the remaining ranks are killed after a signal has ended one of them:
EXIT_TIMEOUT = 8.0  # if rank 0 has ended
SAVE_TIMEOUT = 60.0  # if rank 0 is still running; it may be writing a checkpoint
STOPPED = tuple(128 + number for number in stopping.SIGNALS)  # exit codes of stopped ranks


def run_ranks(main: Callable[..., None], count: int, *args: Any) -> None:
    """Call ``main(rank, *args)`` in ``count`` new processes, and wait until all have succeeded.

    Args:
        main: the function to call; must be picklable. Its errors are handled by
            :func:`retina_plugin.engine.process.run`.
        count: the number of processes.
        args: more arguments of ``main``; must be picklable.

    Raises:
        ChildProcessError: a rank was killed or crashed; the others were killed.
        Interrupted: a signal ended the run; rank 0 has printed a message.
        SystemExit: a rank ended with an error that it has printed.
    """
    # torch's processes get SIGINT if this process dies, which stops them as Ctrl-C does
    from torch.multiprocessing.spawn import start_processes

    _silence_resource_tracker()
    with stopping.defer_signals():
        # Starting the tracker unblocks the signals, so it must run before they are blocked.
        resource_tracker.ensure_running()
        # Ranks inherit the blocked signals until they have installed their handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, stopping.SIGNALS)
        context = start_processes(  # type: ignore[no-untyped-call]  # it has no annotations
            _run_rank,
            args=(count, get_start_method(), main, args),
            nprocs=count,
            join=False,
            start_method="spawn",
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.SIGNALS)
        try:
            _supervise(context.processes)
        except stopping.Interrupted as error:
            if context.processes[0].exitcode in STOPPED:
                error.message = None  # rank 0 has printed it
            else:
                print(file=sys.stderr)  # end the line of a progress bar
            raise
        finally:
            _kill(context.processes)


def _silence_resource_tracker() -> None:
    """Suppress the warning about semaphores of killed ranks; multiprocessing frees them anyway."""
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [warnings, "ignore:resource_tracker"]))


def current_rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if distributed else 0


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def process_group(rank: int, request: Request, url: str, *, backend: str) -> Iterator[None]:
    """Join the process group of all ranks on all machines; on exit, destroy it.

    Args:
        rank: the rank of this process on this machine.
        request: gives the number of GPUs and machines.
        url: the address for ``torch.distributed.init_process_group``.
        backend: "nccl" or "gloo".
    """
    if backend == "nccl":
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        backend,
        init_method=url,
        world_size=request.num_gpus * request.num_machines,
        rank=request.machine_rank * request.num_gpus + rank,
        timeout=TIMEOUT,
    )
    try:
        yield
    except stopping.Interrupted:
        # after a second Ctrl-C, other ranks may not get here
        if not stopping.immediate_stop_requested():
            torch.distributed.destroy_process_group()
        raise
    torch.distributed.destroy_process_group()


def _supervise(ranks: Sequence[Any]) -> None:
    """Wait until all ranks have ended; raise if one of them failed or was stopped."""
    deadline, signal_sent = math.inf, False
    while (alive := [rank for rank in ranks if rank.is_alive()]) and time.monotonic() < deadline:
        connection.wait([rank.sentinel for rank in alive], timeout=0.2)
        if stopping.requested_signal() and not signal_sent:
            signal_sent = True
            for rank in alive:  # a rank that has just received the signal ignores the repetition
                os.kill(rank.pid, stopping.requested_signal())
        codes = [rank.exitcode for rank in ranks]
        if any(code not in (None, 0, *STOPPED) for code in codes):
            _kill(ranks)
            print(file=sys.stderr)  # end the line of a progress bar
            raise _failure(ranks, codes)
        if any(code in STOPPED for code in codes) or (stopping.requested_signal() and 0 in codes):
            timeout = SAVE_TIMEOUT if codes[0] is None else EXIT_TIMEOUT
            deadline = min(deadline, time.monotonic() + timeout)
    number = next((rank.exitcode - 128 for rank in ranks if rank.exitcode in STOPPED), 0)
    if number or stopping.requested_signal():
        raise stopping.Interrupted(stopping.requested_signal() or number)


def _kill(ranks: Sequence[Any]) -> None:
    for rank in ranks:
        rank.kill()
    for rank in ranks:
        rank.join()


def _failure(ranks: Sequence[Any], codes: Sequence[int | None]) -> BaseException:
    """Return the error that ended the run.

    A killed rank, whose code is negative, is reported before ranks that failed because of it.
    """
    failed = [(code, number) for number, code in enumerate(codes) if code]
    code, number = min(failed)
    if code == 2:
        return SystemExit(2)
    how = (
        f"was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"ended with exit code {code}"
    )
    memory = ", most often because memory ran out" if code == -signal.SIGKILL else ""
    return ChildProcessError(
        f"rank {number} (pid {ranks[number].pid}) {how}{memory}, and the other ranks were ended. "
        "Continue with --resume."
    )


def _run_rank(
    rank: int, count: int, start_method: str, main: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """Run ``main`` in a new process.

    Its loaders start their workers with ``start_method``, the default of the user's process.
    """
    from retina_plugin.engine.process import run

    set_start_method(start_method, force=True)
    os.environ["LOCAL_RANK"] = str(rank)
    if rank > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  rank 0 prints the same
        logging.getLogger("retina_plugin").setLevel(logging.ERROR)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max((os.cpu_count() or 1) // count, 1))
    code = 0
    try:
        run(lambda: main(rank, *args), rank=rank)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:  # torch would not print it
        traceback.print_exc()
        code = 1
    _exit_process(code)


def _exit_process(code: int) -> None:
    """End this process without the shutdown of Python and torch, which takes seconds."""
    for worker in active_children():
        worker.terminate()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
