"""Choose the images of a step by memory, and check that a step fits into the memory."""

from __future__ import annotations

from retina_plugin.engine.plan.given import Given, given_entry
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.profile import DataProfile

BATCH = "SOLVER.IMS_PER_BATCH"
USUAL_BATCH = 4  # in equal time on digits, AP was higher than with 8 images, with 2 about the same
USUAL_BATCH_GPU = 8  # a GPU is faster per image with more of them; not measured
# Memory of a training step for each pixel of the batch, measured on a CPU with 4 or 8 images of 384
# x 512 and 3 classes: 600 to 760 with levels from P3, 880 to 1040 from P2; with 80 classes and P2
# up to 1070.
BYTES_PER_PIXEL = 1100
# Of the ResNet-50, measured on a CPU, not on a GPU, as the difference of 2 and 4 images of 256 x
# 320: 2200 with levels from P3, 3800 from P2. About 550 MiB do not depend on the images.
BYTES_PER_PIXEL_GPU = 4500
MEMORY_SHARE = 0.5  # share of the free memory that a step may use


def batch_size(
    size: InputSize, profile: DataProfile, machine: Machine, given: Given | None = None
) -> Entry:
    """Choose the number of images of a step by memory and data; a given number is used."""
    if given and BATCH in given:
        return given_entry(BATCH, given[BATCH])
    per_pixel = BYTES_PER_PIXEL_GPU if machine.gpu else BYTES_PER_PIXEL
    affordable = machine.memory * MEMORY_SHARE / (per_pixel * size.train_pixels)
    batch = usual = USUAL_BATCH_GPU if machine.gpu else USUAL_BATCH
    while batch > 1 and (batch > affordable or batch > profile.num_images):
        batch //= 2
    reason = "usual on a GPU" if machine.gpu else "in the same time, more steps than with 8"
    if batch < usual:
        reason = (
            f"there are {profile.num_images} images"
            if batch * 2 > profile.num_images
            else f"{machine.memory / 2**30:.1f} GiB of memory are free"
        )
    return Entry(BATCH, batch, reason, printed=batch < usual)


def half_batch(batch: Entry, given: Given) -> Entry | None:
    """Return half of a batch, to make more steps in a time; None if it is given or too small."""
    if BATCH in given or batch.value < 4:
        return None
    reason = "half as many as usual, so that more steps fit into the time"
    return Entry(BATCH, batch.value // 2, reason, printed=True)
