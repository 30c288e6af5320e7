"""Find the image folder of a COCO file, which the file does not contain."""

from __future__ import annotations

import os
from collections.abc import Sequence

from retina_plugin.data.importers.annotation_files import FOLDERS
from retina_plugin.data.importers.image_places import ImageFinder, place_images

SAMPLE = 50  # names that are looked for in each folder


def find_image_root(
    names: Sequence[str], json_file: str, *, path: str, split: str, image_folder: str
) -> tuple[str, list[str]]:
    """Find the folder that file names are relative to.

    Args:
        names: ``file_name`` of each image.
        json_file: the COCO file.
        path: the file or folder that the user gave.
        split: folders with this name are tried too.
        image_folder: the image folder, if the user gave one; it is returned unchecked.

    Returns:
        The folder, and the names of the images relative to it. The first candidate that has a
        sample of the names is used. If none has, each image is searched for; the names of missing
        images are unchanged.
    """
    if image_folder or not names:
        return image_folder or os.path.dirname(json_file) or ".", list(names)
    sample = names[:: max(1, len(names) // SAMPLE)]
    for folder in _candidates(json_file, path, split):
        if all(os.path.isfile(os.path.join(folder, name)) for name in sample):
            return folder, list(names)
    finder = ImageFinder(json_file, path=path, split=split)
    places = place_images([[name] for name in names], finder, source=json_file)
    return places.root, places.names


def _candidates(json_file: str, path: str, split: str) -> list[str]:
    """Return the folders that may have the images: the folder of the file, ``path``, the parent of
    a folder of annotations, and subfolders of these named "images", like the split, or like the
    file, such as train2017 for instances_train2017.json."""
    here = os.path.dirname(json_file)
    tops = [here]
    if os.path.isdir(path):
        tops.append(path)
    if os.path.basename(os.path.abspath(here)).lower() in FOLDERS:
        tops.append(os.path.join(here, os.pardir))
    stem = os.path.splitext(os.path.basename(json_file))[0]
    names = dict.fromkeys(("images", stem.rpartition("_")[2], split, stem))
    found = [
        os.path.normpath(os.path.join(top, *below))
        for top in tops
        for below in [(), *((name,) for name in names), *(("images", name) for name in names)]
    ]
    return [folder for folder in dict.fromkeys(found) if os.path.isdir(folder)]
