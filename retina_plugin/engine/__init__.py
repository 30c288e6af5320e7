"""Around a run, for both hosts."""
