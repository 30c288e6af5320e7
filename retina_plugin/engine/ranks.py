"""Several processes of one run on this machine: when one of them dies, the others end too, with one
message.

The process that was started by the user supervises and does no work itself, so that it never waits
for a rank that is gone.
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

# in which one rank may do what the others wait for, such as an evaluation
TIMEOUT = datetime.timedelta(minutes=30)
GRACE = 8.0  # seconds that ranks have to end after rank 0 has ended on a signal
SAVING = 60.0  # seconds that rank 0, which may be writing a checkpoint, has after another one
STOPPED = tuple(128 + number for number in stopping.SIGNALS)  # exit codes


def run_ranks(main: Callable[..., None], count: int, *args: Any) -> None:
    """Call ``main(rank, *args)`` in ``count`` new processes, and return when all have ended well.

    Args:
        main: can be pickled; see :func:`retina_plugin.engine.process.run` for what becomes of its
            errors.
        args: can be pickled.

    Raises:
        ChildProcessError: a rank was killed or crashed; the others were ended.
        Interrupted: a signal ended the run; rank 0 has said so.
        SystemExit: a rank ended with an error that it has reported.
    """
    # its signal of the parent's death stops ranks as Ctrl-C does
    import torch.multiprocessing as processes

    _silence_resource_tracker()
    with stopping.defer_signals():
        resource_tracker.ensure_running()  # else it is started now, and unblocks the signals again
        signal.pthread_sigmask(
            signal.SIG_BLOCK, stopping.SIGNALS
        )  # for the ranks, until they handle signals
        context = processes.start_processes(
            _rank,
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
                error.message = None  # rank 0 has said it
            else:
                print(file=sys.stderr)  # ends the line of a progress bar
            raise
        finally:
            _kill(context.processes)


def _silence_resource_tracker() -> None:
    """Keep multiprocessing from warning of the semaphores of ranks that were killed; it frees them
    all the same."""
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [warnings, "ignore:resource_tracker"]))


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def process_group(rank: int, request: Request, url: str, *, backend: str) -> Iterator[None]:
    """Meet the other ranks, those of other machines too; leave them when all have done their work.

    Args:
        rank: on this machine.
        request: how many there are.
        url: where the ranks meet.
        backend: of ``torch.distributed``.
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
        if not stopping.immediate_stop_requested():  # then all ranks come here
            torch.distributed.destroy_process_group()
        raise
    torch.distributed.destroy_process_group()


def _supervise(ranks: Sequence[Any]) -> None:
    deadline, told = math.inf, False
    while (alive := [rank for rank in ranks if rank.is_alive()]) and time.monotonic() < deadline:
        connection.wait([rank.sentinel for rank in alive], timeout=0.2)
        if stopping.requested_signal() and not told:
            told = True
            for rank in alive:  # one that has the signal already takes it for the same
                os.kill(rank.pid, stopping.requested_signal())
        codes = [rank.exitcode for rank in ranks]
        if any(code not in (None, 0, *STOPPED) for code in codes):
            _kill(ranks)
            print(file=sys.stderr)  # ends the line of a progress bar
            raise _cause(ranks, codes)
        if any(code in STOPPED for code in codes) or (stopping.requested_signal() and 0 in codes):
            patience = SAVING if codes[0] is None else GRACE
            deadline = min(deadline, time.monotonic() + patience)
    number = next((rank.exitcode - 128 for rank in ranks if rank.exitcode in STOPPED), 0)
    if number or stopping.requested_signal():
        raise stopping.Interrupted(stopping.requested_signal() or number)


def _kill(ranks: Sequence[Any]) -> None:
    for rank in ranks:
        rank.kill()
    for rank in ranks:
        rank.join()


def _cause(ranks: Sequence[Any], codes: Sequence[int | None]) -> BaseException:
    """What ended the run; a rank that was killed goes before those that miss it."""
    number, code = min(
        ((i, code) for i, code in enumerate(codes) if code not in (None, 0)),
        key=lambda pair: pair[1],
    )
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


def _rank(
    rank: int, count: int, start_method: str, main: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """A new process, whose loaders start their workers as the user's process would: by forking,
    where that is the default."""
    from retina_plugin.engine.process import run

    set_start_method(start_method, force=True)
    os.environ["LOCAL_RANK"] = str(rank)
    if rank > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  what it says, rank 0 says too
        logging.getLogger("retina_plugin").setLevel(logging.ERROR)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max((os.cpu_count() or 1) // count, 1))
    code = 0
    try:
        run(lambda: main(rank, *args), rank=rank)
    except SystemExit as end:
        code = end.code
    except Exception:  # torch would keep it to itself
        traceback.print_exc()
        code = 1
    _leave(code)


def _leave(code: int) -> None:
    """End this process at once: to take Python and torch apart lasts seconds."""
    for worker in active_children():
        worker.terminate()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
