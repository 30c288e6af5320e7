"""Record in the COCO files of a plan from which data they were made, and read it again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.data_path import absolute_name, parse_data_path

KEY = "retina_plugin"  # in COCO's "info"


@dataclass(frozen=True)
class Origin:
    """The data from which a run was planned.

    Attributes:
        data, val: names of data sets; val is "" if the images of data were split.
        group_by: pattern of the split; "" for none.
        split_seed: seed of the split; None without a split.
    """

    data: str
    val: str = ""
    group_by: str = ""
    split_seed: int | None = None

    @property
    def split(self) -> str:
        """How the validation images were split off; "" if they were not."""
        if self.split_seed is None:
            return ""
        groups = f", by groups of --group-by {self.group_by}" if self.group_by else ""
        return f"split from the training images with --split-seed {self.split_seed}{groups}"

    def info(self) -> dict[str, Any]:
        """Return COCO's "info", with absolute paths."""
        names = {"data": absolute_name(self.data), "val": self.val and absolute_name(self.val)}
        return {KEY: {**dataclasses.asdict(self), **names}}

    def require(self, other: Origin, *, folder: str) -> None:
        """Check that what a command line gives is equal.

        Args:
            other: the data of the command line; an empty "val" or "group_by" and a missing seed are
                not compared.
            folder: the folder of the run, for the message.

        Raises:
            ConfigError: it differs.
        """
        for flag, planned, found in (
            ("--data", absolute_name(self.data), absolute_name(other.data)),
            ("--val", self.val and absolute_name(self.val), other.val and absolute_name(other.val)),
            ("--group-by", self.group_by, other.group_by),
            ("--split-seed", self.split_seed, other.split_seed),
        ):
            if found not in ("", None, planned):
                was = "none" if planned in ("", None) else planned
                raise ConfigError(
                    f"--resume: the run in {folder} was planned with {flag} {was}, found {found}. "
                    f"Give the same {flag} to continue it, or another --output for a new run"
                )


def origin_of(train: str, validation: str) -> Origin | None:
    """Return the data of a plan.

    Args:
        train, validation: names of the data sets in the plan.

    Returns:
        For COCO files that a plan has written, what they record; None if they record nothing, as
        those of older versions. For other data, their names.
    """
    where = parse_data_path(train)
    if where is None or not train.endswith(".train.json@"):
        return Origin(train, val=validation)
    info = parse_json(where.path).get("info") or {}
    return Origin(**info[KEY]) if KEY in info else None
