"""Plan a run from the data and the machine; docs/planning.md states the rules."""
