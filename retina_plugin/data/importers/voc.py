"""Import Pascal VOC: an XML file for each image.

Pixels are counted from 1; see :mod:`retina_plugin.data.importers.voc_offset`. Boxes of ``<part>``
are parts of objects and are skipped.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.image_files import ImageFolder
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.progress import with_progress
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.voc_layout import VocLayout, find_layout, image_of
from retina_plugin.data.importers.voc_objects import read_object
from retina_plugin.data.importers.voc_offset import KEY, voc_offset
from retina_plugin.data.importers.xml_file import Element, read_xml


@IMPORTERS.register("Pascal VOC")
class VocImporter:
    """Reads folders in Pascal VOC's layout, folders of XML files, or one XML file."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        layout = find_layout(path)
        if layout is None:
            return None
        return {split: where for split, (where, _) in layout.splits.items()}

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`. The classes are collected from the XML files of all splits, so
        that all splits have the same classes."""
        layout = find_layout(path)
        if layout is None:
            raise DatasetError(f"{path}: expected XML files of Pascal VOC, found none")
        where, files = layout.splits[split]
        title = f"Pascal VOC, split {split} of {where}" if split else "Pascal VOC"
        images = ImageFolder(image_folder or layout.images)
        collector = Collector(
            format=f"{title} ({KEY.rpartition('.')[2]} {voc_offset()})",
            source=path,
            image_root=images.folder,
            class_names=None,
            watched=[path] if os.path.isfile(path) else [layout.root],
        )
        for file in with_progress(files, "XML files"):
            with reading_entry(file):
                _add(collector, file, read_xml(file), images)
        classes = {box["class"] for box in collector.boxes}
        collector.class_names = sorted(classes | _other_classes(layout, known=set(files)))
        _note_other_images(collector, images, layout, split)
        return collector.finish()


def _other_classes(layout: VocLayout, *, known: set[str]) -> set[str]:
    """Return the class names in the XML files of all splits, except the files ``known``."""
    files = {file for _, found in layout.splits.values() for file in found} - known
    names: set[str] = set()
    for file in with_progress(sorted(files), "XML files"):
        with reading_entry(file):
            names |= {element.text_at("name") for element in read_xml(file).find_all("object")}
    return names - {""}


def _add(collector: Collector, file: str, root: Element, images: ImageFolder) -> None:
    """Add the image of an XML file with its boxes."""
    if root.tag != "annotation":
        raise DatasetError(f"{root.place}: expected <annotation>, found <{root.tag:.80}>")
    written = root.text_at("filename")
    name, as_written = image_of(file, written, images)
    if not as_written:
        collector.note(
            "XML files differ in name from their <filename>; the image named like the XML file was "
            "used",
            f"{file}: {written!r}",
        )
    sizes = [root.text_at("size", key) for key in ("width", "height")]
    numbers = [int(float(size)) if _is_whole(size) else 0 for size in sizes]
    image = collector.add_image(name, width=numbers[0], height=numbers[1])
    for element in root.find_all("object"):
        with reading_entry(element.place):
            found = read_object(element, note=collector.note)
            collector.add_box(
                image, found.class_name, found.box, place=element.place, difficult=found.difficult
            )


def _is_whole(text: str) -> bool:
    whole, _, rest = text.partition(".")
    return whole.isdigit() and not rest.strip("0")


def _note_other_images(
    collector: Collector, images: ImageFolder, layout: VocLayout, split: str
) -> None:
    """Add a note for each image without an XML file."""
    if os.path.isfile(layout.root) or layout.has_lists:
        return
    stems = {
        os.path.splitext(os.path.basename(file))[0]
        for _, found in layout.splits.values()
        for file in found
    }
    used = {image["file_name"] for image in collector.images}
    for name in images.names:
        if os.path.splitext(os.path.basename(name))[0] not in stems and name not in used:
            collector.note("images have no XML file and are not used", name)
