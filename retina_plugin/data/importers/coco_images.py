"""Where the images of a COCO file are, which the file does not say."""

from __future__ import annotations

import os
from collections.abc import Sequence

from retina_plugin.data.importers.annotation_files import FOLDERS
from retina_plugin.data.importers.image_places import ImageFinder, place_images

SAMPLE = 50  # names that are looked for in each folder


def find_image_root(
    names: Sequence[str], json_file: str, *, path: str, split: str, image_folder: str
) -> tuple[str, list[str]]:
    """Find the folder that file names start from.

    Args:
        names: ``file_name`` of each image.
        json_file: where they are written.
        path: file or folder that the user named.
        split: folders that are named after it are tried, too.
        image_folder: the folder, if the user named it.

    Returns:
        The first folder that has all of a sample of the names, and the names. If there is none, a
        folder, and the names below it by which the images were found; names that were not found
        are unchanged.
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
    """Folders that may hold the images: that of the file, the one that the user named, the one
    above a folder of annotations, and in these those called "images", after the split, or after
    the file, such as train2017 for instances_train2017.json."""
    here = os.path.dirname(json_file)
    tops = [here]
    if os.path.isdir(path):
        tops.append(path)
    if os.path.basename(os.path.abspath(here)).lower() in FOLDERS:
        tops.append(os.path.join(here, os.pardir))
    stem = os.path.splitext(os.path.basename(json_file))[0]
    own = dict.fromkeys(("images", stem.rpartition("_")[2], split, stem))
    found = [
        os.path.normpath(os.path.join(top, *below))
        for top in tops
        for below in [(), *((name,) for name in own), *(("images", name) for name in own)]
    ]
    return [folder for folder in dict.fromkeys(found) if os.path.isdir(folder)]
