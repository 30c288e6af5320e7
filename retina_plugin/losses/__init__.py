"""The losses of RetinaNet, as functions of tensors."""

from retina_plugin.losses.box import BOX_LOSSES, smooth_l1_loss
from retina_plugin.losses.focal import sigmoid_focal_loss
from retina_plugin.losses.normalizer import INITIAL, update_normalizer

__all__ = ["BOX_LOSSES", "INITIAL", "sigmoid_focal_loss", "smooth_l1_loss", "update_normalizer"]
