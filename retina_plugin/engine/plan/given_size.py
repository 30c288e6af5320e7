"""The keys on the command line that set sizes of images, windows or slices."""

from __future__ import annotations

from typing import Any, NamedTuple

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.given import Given

SLICE = f"{NODE}.TEST.SLICE"


class GivenSize(NamedTuple):
    """Sizes that the user gives, in pixels; 0, () and None if they are not given.

    Attributes:
        test, longest_test: shorter side in evaluation, and the limit of the longer side.
        train, longest_train: smallest and largest shorter side in training, and the limit.
        slice: side of the slices in the image; 0 for no slices, None if not given.
        full_image: whether evaluation uses the whole image in addition to its slices.
        window: side of the windows in the image; 0 for no windows, None if not given.
    """

    test: int = 0
    longest_test: int = 0
    train: tuple[int, ...] = ()
    longest_train: int = 0
    slice: int | None = None
    full_image: bool | None = None
    window: int | None = None

    @classmethod
    def of(cls, given: Given) -> GivenSize:
        train = given.get("INPUT.MIN_SIZE_TRAIN", ())
        return cls(
            test=given.get("INPUT.MIN_SIZE_TEST", 0),
            longest_test=given.get("INPUT.MAX_SIZE_TEST", 0),
            train=(min(train), max(train)) if train else (),
            longest_train=given.get("INPUT.MAX_SIZE_TRAIN", 0),
            slice=given.get(f"{SLICE}.SIZE"),
            full_image=given.get(f"{SLICE}.FULL_IMAGE"),
            window=_window(given),
        )

    @property
    def side(self) -> int:
        """The shorter side of whole images; without that of evaluation the largest of training."""
        return self.test or max(self.train, default=0)

    @property
    def reason(self) -> str:
        """Why whole images have the size :attr:`side`; "" if it is not given."""
        if self.test:
            return "given on the command line"
        return "the largest of MIN_SIZE_TRAIN, which is given" if self.train else ""


def _window(given: Given) -> int | None:
    size: Any = given.get("INPUT.CROP.SIZE")
    if not given.get("INPUT.CROP.ENABLED", True):
        return 0
    if size and given.get("INPUT.CROP.TYPE", "absolute") == "absolute":
        return int(max(size))
    return None
