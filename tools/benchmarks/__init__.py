"""The parts of ``tools/benchmark.py``: who takes part in each, with what work, and when two results
are the same."""
