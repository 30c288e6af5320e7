"""Layers and functions of tensors that the model is built from."""
