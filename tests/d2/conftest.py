"""Absent means not collected; present but broken means red."""

import importlib.util

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("detectron2") is None else []
if importlib.util.find_spec("lightning") is None:
    collect_ignore_glob.append("test_hosts_agree.py")
