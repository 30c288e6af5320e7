"""Detect objects with a trained or an exported model in files, arrays and videos."""
