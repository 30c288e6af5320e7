"""The parts of ``tools/compare_recipes.py``: the comparison file, its checks, the lengths of the
runs, the runs, the verdicts and the page."""
