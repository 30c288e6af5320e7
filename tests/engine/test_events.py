"""Event files: TensorBoard reads each entry as soon as it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close

from retina_plugin.engine.events import EventFile


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_what_was_written_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = EventFile(str(tmp_path))
    for step, value in enumerate([3.0, 2.0, 1.5]):
        writer.add_scalar("loss", value, step)
    writer.add_image("picture", np.zeros((3, 8, 10), dtype=np.uint8), 1)
    writer.add_histogram("weights", np.arange(10), 2)
    found = read(tmp_path)
    assert_close([(e.step, e.value) for e in found.Scalars("loss")], [(0, 3.0), (1, 2.0), (2, 1.5)])
    (image,) = found.Images("picture")
    assert (image.step, image.height, image.width) == (1, 8, 10)
    assert found.Histograms("weights")[0].histogram_value.num == 10
    writer.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_two_files_of_the_same_second_have_different_names(tmp_path: Path) -> None:
    for _ in range(2):
        EventFile(str(tmp_path)).close()
    assert len(list(tmp_path.iterdir())) == 2
