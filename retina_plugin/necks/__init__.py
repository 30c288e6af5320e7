"""Necks: C3..C5 of a backbone -> P3..P7."""

from retina_plugin.necks.fpn import FPN, LastLevelP6P7

__all__ = ["FPN", "LastLevelP6P7"]
