"""Skip these tests if Lightning is not installed; if it is installed but broken, they fail."""

import importlib.util

from tests.threads import one_thread

__all__ = ["one_thread"]  # a fixture

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("lightning") is None else []
