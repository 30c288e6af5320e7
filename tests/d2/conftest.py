"""Skip these tests if Detectron2 is not installed; if it is installed but broken, they fail."""

import importlib.util

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("detectron2") is None else []
if importlib.util.find_spec("lightning") is None:
    collect_ignore_glob.append("test_hosts_agree.py")
