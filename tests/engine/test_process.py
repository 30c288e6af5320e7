"""Error messages of processes."""

from __future__ import annotations

from multiprocessing import Pipe

import pytest

from retina_plugin.engine.process import user_message


@pytest.mark.parametrize("unread", [False, True])
def test_a_broken_connection_to_a_worker_is_a_killed_worker(unread: bool) -> None:
    here, there = Pipe()
    if unread:  # then the system resets the connection
        here.send("unread")
    there.close()
    with pytest.raises(ConnectionResetError if unread else EOFError) as caught:
        here.recv()
    message = user_message(caught.value)
    assert message is not None
    assert message.startswith("a process that loads images was killed")


def test_any_other_broken_connection_keeps_its_message() -> None:
    with pytest.raises(ConnectionResetError) as caught:
        raise ConnectionResetError("the server of the logger hung up")
    assert user_message(caught.value) == "the server of the logger hung up"
    assert user_message(ConnectionResetError("never raised")) == "never raised"
    assert user_message(EOFError()) is None


def test_workers_that_torch_names_keep_their_number() -> None:
    error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    message = user_message(error)
    assert message is not None
    assert message.startswith("a process that loads images (pid 12, 13) was killed")
