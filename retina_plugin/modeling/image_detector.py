"""Detect objects in images of any size with a network that takes batches."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from retina_plugin.layers.tracing import is_jit_tracing
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import (
    Preprocessor,
    Size,
    group_by_padded_size,
    sizes_of,
)
from retina_plugin.modeling.structures import Detections
from retina_plugin.modeling.views import Cut, Detect, View, Views


class ImageDetector(nn.Module):
    """Preprocesses images, detects objects in batches, and rescales the detections.

    A subclass defines :meth:`detect_batch`.
    """

    def __init__(self, *, preprocessor: Preprocessor, views: Views | None) -> None:
        """
        Args:
            preprocessor: converts images to the network's input.
            views: the views of an image in which :meth:`predict` detects objects; None for the
                whole image only.
        """
        super().__init__()
        self.preprocessor, self.views = preprocessor, views
        self._warned_about_unit_range = False

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def pixel_mean(self) -> Tensor:
        """(3, 1, 1), see :class:`Preprocessor`."""
        return self.preprocessor.pixel_mean

    @property
    def pixel_std(self) -> Tensor:
        """(3, 1, 1), see :class:`Preprocessor`."""
        return self.preprocessor.pixel_std

    @property
    def input_format(self) -> str:
        """ "BGR" or "RGB"."""
        return self.preprocessor.input_format

    def detect_batch(self, images: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        """Detect objects in a batch from :meth:`preprocess`.

        Returns:
            N detections in pixels of the network's input, clipped to ``sizes``.
        """
        raise NotImplementedError

    def preprocess(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Return a batch, and (H, W) of each image; see :meth:`Preprocessor.forward`."""
        batch, sizes = self.preprocessor(images)
        return batch, sizes

    def detect_images(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects in images in the format of :meth:`preprocess`.

        The detections of an image do not depend on the other images: only images with the same
        padded size share a batch. Padding changes the output of the network, because GroupNorm
        includes it in its statistics and biases make it non-zero.

        Args:
            images: N tensors (3, H, W); the sizes may differ, and N may be 0.

        Returns:
            N detections in the order of ``images``, in pixels of the network's input, clipped to
            each image.
        """
        found: dict[int, Detections] = {}
        for group in group_by_padded_size(sizes_of(images), self.preprocessor.size_divisibility):
            batch = self.detect_batch(*self.preprocess([images[index] for index in group]))
            found.update(zip(group, batch, strict=True))
        return [found[index] for index in range(len(images))]

    def detect_views(self, image_size: Size, cut: Cut, detect: Detect | None = None) -> Detections:
        """Detect the objects of an image in several views; ``self.views`` must not be None.

        Args:
            image_size: (height, width) of the image.
            cut: returns the pixels of a view in the format of :meth:`preprocess`.
            detect: detects the objects of a batch of views; None for :meth:`detect_images`.

        Returns:
            Detections in pixels of the image.
        """
        assert self.views is not None
        return self.views.detect(
            image_size, cut, detect or (lambda images, _: self.detect_images(images))
        )

    @torch.inference_mode()
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects in RGB images of any size, in evaluation mode.

        Args:
            images: N tensors (3, H, W), RGB, 0..255; the sizes may differ, and N may be 0.
                ``torch.from_numpy(array).permute(2, 0, 1)`` converts an (H, W, 3) array.

        Returns:
            N detections in pixels of the original images, highest score first. The detections of an
            image do not depend on the other images.

        Raises:
            ValueError: if an image has another shape.
            RuntimeError: in ``torch.jit.trace``, if the model resizes or has several views; see
                :func:`retina_plugin.modeling.preprocessing.resize`.
        """
        for image in images:
            if image.dim() != 3 or image.shape[0] != 3 or not image.numel():
                raise ValueError(
                    f"predict takes RGB images (3, H, W), found a tensor {tuple(image.shape)}"
                )
            self._warn_about_unit_range(image)
        with evaluation_mode(self):
            if self.views is None:
                return self._predict(images)
            return [self._predict_views(image) for image in images]

    def _warn_about_unit_range(self, image: Tensor) -> None:
        """Warn once per model about an image with values in 0..1, unless it is black."""
        if (
            self._warned_about_unit_range
            or not image.max() <= 1
            or image.min() < 0
            or not image.any()
        ):
            return
        self._warned_about_unit_range = True
        warnings.warn(
            "predict takes values 0..255, but all values of an image lie in 0..1, which is nearly "
            "black. Multiply the image by 255.",
            stacklevel=4,
        )

    def _predict(self, images: Sequence[Tensor]) -> list[Detections]:
        resized = [self.preprocessor.from_file(image) for image in images]
        sizes = zip(sizes_of(resized), sizes_of(images), strict=True)
        return [
            rescale_detections(found, network_size=network_size, image_size=image_size)
            for found, (network_size, image_size) in zip(
                self.detect_images(resized), sizes, strict=True
            )
        ]

    def _predict_views(self, image: Tensor) -> Detections:
        if is_jit_tracing():
            raise RuntimeError(
                "torch.jit.trace cannot record predict() of a model with several views, because "
                "their sizes depend on the image. Set MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE 0 and "
                "TEST.AUG.ENABLED False"
            )
        return self.detect_views((image.shape[-2], image.shape[-1]), partial(self._cut, image))

    def _cut(self, image: Tensor, view: View) -> Tensor:
        top, left, height, width = view.window
        pixels = image[:, top : top + height, left : left + width]
        return view.flip(self.preprocessor.resize_to(pixels, view.size))


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; on exit, restore the mode of every submodule."""
    if not model.training:  # do not call eval(), which clears the cached kernels
        yield
        return
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        model.train()
        for module, training in modes.items():
            module.training = training
