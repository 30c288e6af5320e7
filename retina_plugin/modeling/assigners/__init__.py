"""Assigners: anchors and ground truth -> which anchor learns which box."""
