"""Heads: pyramid levels -> class logits and box deltas."""
