"""Prepare, start, stop and resume runs on either host."""
