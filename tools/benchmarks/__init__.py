"""The parts of ``tools/benchmark.py``: the implementations to compare, their work, and the check
that their results are equal."""
