"""Layers and tensor functions from which the model is built."""
