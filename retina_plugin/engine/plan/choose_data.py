"""Choose training and validation images of a user's data, with the same classes in both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retina_plugin.data import Dataset, load_dataset
from retina_plugin.data.catalog import splits_of
from retina_plugin.data.coco_file import write_coco_file
from retina_plugin.data.data_path import parse_data_path
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.split import split_dataset
from retina_plugin.engine.plan.origin import Origin
from retina_plugin.engine.plan.rules import Datasets
from retina_plugin.engine.trained_images import trained_images_line

FRACTION = 0.2  # share of the images for validation, if the data has no validation split
SEED = 1


@dataclass(frozen=True)
class ChosenData:
    """The data of a run.

    Attributes:
        names: names of the data sets for the config.
        training, validation: the data sets; both have the same classes.
        lines: lines to print.
        files: COCO files that the names need, not written yet: path -> data set.
        origin: from which data the files were made; see
            :mod:`retina_plugin.engine.plan.origin`.
    """

    names: Datasets
    training: Dataset
    validation: Dataset
    lines: tuple[str, ...]
    files: Mapping[str, Dataset] = field(default_factory=dict, repr=False)
    origin: Origin | None = None

    def write_files(self) -> None:
        """Write :attr:`files`.

        Raises:
            DiskError: a file cannot be written.
        """
        for path, dataset in self.files.items():
            info = self.origin.info() if self.origin else None
            write_coco_file(dataset, range(len(dataset.records)), path, info=info)


def choose_data(
    data: str, val: str, *, prefix: str, group_by: str = "", seed: int | None = None
) -> ChosenData:
    """Choose training and validation images.

    The data sets are used by their names if both have the same classes. Otherwise, and if
    validation images are split from the training images, COCO files are needed; nothing is written
    here.

    Args:
        data: the training set, see :func:`retina_plugin.data.load_dataset`.
        val: the validation set. If it is "", the validation split of ``data`` is used; without
            such a split, :data:`FRACTION` of the images is split off.
        prefix: prefix of the file names ``<prefix>.train.json`` and ``<prefix>.val.json``.
        group_by: see :func:`retina_plugin.data.split.split_dataset`.
        seed: random seed of the split; None for :data:`SEED`.

    Raises:
        DatasetError: a data set cannot be used, has no ground truth or has no boxes; or
            ``group_by`` or ``seed`` is given, but nothing is split.
    """
    training = _load(data, "learn")
    other = val or _validation_split(data)
    if not other:
        origin = Origin(data, group_by=group_by, split_seed=SEED if seed is None else seed)
        return _split(training, prefix, origin)
    flag = "--group-by" if group_by else "--split-seed"
    if group_by or seed is not None:
        raise DatasetError(
            f"{flag} splits the images of {data}, but {other} is the validation set: leave "
            f"{flag} out, or name the training images alone"
        )
    validation = _load(other, "measure")
    lines = [_describe("training", training), _describe("validation", validation)]
    shared = trained_images_line(other, validation.records, training.records)
    lines += [shared] if shared else []
    if validation.class_names == training.class_names:
        names = Datasets(train=(data,), validation=(other,))
        return ChosenData(names, training, validation, tuple(lines))
    classes = _all_classes(training, validation)
    lines += _missing_classes(training, validation)
    training, validation = (_with_classes(d, classes) for d in (training, validation))
    return _with_files(training, validation, prefix, lines, Origin(data, val=other))


def _load(name: str, purpose: str) -> Dataset:
    dataset = load_dataset(name)
    if not any(not a["iscrowd"] for record in dataset.records for a in record["annotations"]):
        raise DatasetError(
            f"{name}: {len(dataset.records)} images, but no boxes: nothing to {purpose}"
        )
    return dataset


def _validation_split(data: str) -> str:
    where = parse_data_path(data)
    if where is None or where.split or "val" not in splits_of(data):
        return ""
    folder = f"@{where.image_folder}" if where.image_folder else ""
    return f"{where.path}:val{folder}"


def _describe(role: str, dataset: Dataset) -> str:
    boxes = sum(len(record["annotations"]) for record in dataset.records)
    return (
        f"{role}: {dataset.name} ({dataset.format}), {len(dataset.records)} images, {boxes} boxes, "
        f"{dataset.num_classes} {'class' if dataset.num_classes == 1 else 'classes'}"
    )


def _split(dataset: Dataset, prefix: str, origin: Origin) -> ChosenData:
    assert origin.split_seed is not None
    split = split_dataset(
        dataset, fraction=FRACTION, seed=origin.split_seed, group_by=origin.group_by
    )
    training, validation = (
        dataclasses.replace(dataset, records=[dataset.records[i] for i in indices])
        for indices in (split.training, split.validation)
    )
    lines = [_describe("training", dataset), *split.notes]
    return _with_files(training, validation, prefix, lines, origin)


def _with_files(
    training: Dataset, validation: Dataset, prefix: str, lines: Sequence[str], origin: Origin
) -> ChosenData:
    files = {f"{prefix}.train.json": training, f"{prefix}.val.json": validation}
    train, val = (f"{path}@" for path in files)
    names = Datasets(train=(train,), validation=(val,), split=origin.split)
    return ChosenData(names, training, validation, tuple(lines), files, origin)


def _all_classes(training: Dataset, validation: Dataset) -> tuple[str, ...]:
    known = set(training.class_names)
    return (*training.class_names, *(n for n in validation.class_names if n not in known))


def _missing_classes(training: Dataset, validation: Dataset) -> list[str]:
    pairs = ((training, validation, "learned"), (validation, training, "measured"))
    return [
        f"{lacking.name} has no {', '.join(names)}: "
        f"{'this class is' if len(names) == 1 else 'these classes are'} not {verb}"
        for lacking, having, verb in pairs
        if (names := [n for n in having.class_names if n not in lacking.class_names])
    ]


def _with_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return a copy of a data set with ``classes``, which include its classes."""
    index = {name: number for number, name in enumerate(classes)}
    records = [
        {
            **record,
            "annotations": [
                {**a, "category_id": index[dataset.class_names[a["category_id"]]]}
                for a in record["annotations"]
            ],
        }
        for record in dataset.records
    ]
    ids = tuple(range(1, len(classes) + 1))
    return dataclasses.replace(
        dataset, records=records, class_names=tuple(classes), category_ids=ids
    )
