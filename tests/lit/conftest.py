"""Skip these tests if Lightning is not installed; if it is installed but broken, they fail."""

import importlib.util
from collections.abc import Iterator

import pytest
import torch

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("lightning") is None else []


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: steps of tiny models are slower with several, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
