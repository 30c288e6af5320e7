"""Check that an exported file equals the model, before the file is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.export.compare import detection_difference, output_difference
from retina_plugin.export.description import Description
from retina_plugin.export.detector import ExportedDetector
from retina_plugin.export.errors import ExportError
from retina_plugin.export.network import DETECTIONS, NETWORKS
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import Size, padded_size, resized_shape
from retina_plugin.modeling.retinanet import RetinaNet

BATCHES = (1, 3)


def check_file(
    detector: ExportedDetector, model: RetinaNet, images: Sequence[Tensor], *, path: str
) -> int:
    """Compare a file with the model, for images of three sizes in batches of 1 and 3.

    Args:
        detector: the loaded file.
        model: the model, in evaluation mode, in float32, on the CPU.
        images: RGB images (3, H, W), at least one.
        path: name of the file in messages.

    Returns:
        The number of detections that were compared.

    Raises:
        ExportError: they differ. The message says where.
    """
    compared = 0
    for size in check_sizes(detector.description, images[0]):
        for number in BATCHES:
            batch = [images[index % len(images)] for index in range(number)]
            resized = [model.preprocessor.resize_to(image, size) for image in batch]
            inputs, sizes = model.preprocess(resized)
            difference, count = _difference(detector, model, inputs, sizes)
            if difference:
                raise ExportError(
                    f"{path} was not written, because it differs from the model for {number} "
                    f"images of {size[0]}x{size[1]}: {difference}"
                )
            compared += count
    return compared


def check_sizes(description: Description, image: Tensor) -> list[Size]:
    """Return three sizes: that of the image at the network's input, and two smaller ones."""
    height, width = resized_shape(
        image.shape[-2], image.shape[-1], description.min_size, description.max_size
    )
    if description.size is not None:
        height, width = description.size
    smaller = [(height * 3 // 4, width), (height // 2, width // 2)]
    return [(height, width), *((max(h, 1), max(w, 1)) for h, w in smaller)]


@torch.no_grad()
def _difference(
    detector: ExportedDetector, model: RetinaNet, inputs: Tensor, sizes: Sequence[Size]
) -> tuple[str, int]:
    """Return the difference for a batch, or "", and the number of detections of the model."""
    description = detector.description
    if description.size is not None:
        shape = padded_size([(description.size[0], description.size[1])], description.stride)
        height, width = inputs.shape[-2:]
        inputs = F.pad(inputs, (0, shape[1] - width, 0, shape[0] - height))
    predictions, anchors = model.predict_dense(inputs)
    if description.outputs != DETECTIONS:
        network = NETWORKS[description.outputs](model)
        expected = network.outputs(predictions, anchors)
        found = detector.run(inputs)
        difference = output_difference(model, description.outputs, found, expected, anchors)
        if difference:
            return difference, 0
    count = 0
    pairs = zip(
        detector.detect_batch(inputs, sizes),
        model.postprocessor(predictions, anchors),
        sizes,
        strict=True,
    )
    for index, (one, expected_one, size) in enumerate(pairs):
        other = rescale_detections(expected_one, network_size=size, image_size=size)
        difference = detection_difference(one, other, model.postprocessor)
        if difference:
            return f"image {index + 1} of the batch, {difference}", 0
        count += len(other["scores"])
    return "", count
