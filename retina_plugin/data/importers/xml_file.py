"""Read XML files as trees of elements with their line. Document type declarations are rejected,
because they can define entities that expand without limit or include other files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from retina_plugin.config.files import require_regular_file
from retina_plugin.data.errors import DatasetError


@dataclass
class Element:
    """One element.

    Attributes:
        tag, attributes: as in the file.
        place: file and line of the start tag, for messages.
        children: the child elements, in order.
        text: the text, without the text of children and without spaces around it.
    """

    tag: str
    attributes: dict[str, str]
    place: str
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def find_all(self, *path: str) -> Iterator[Element]:
        """Yield the descendants at a path of tags, such as "task", "labels", "label"."""
        for child in self.children:
            if child.tag == path[0]:
                if len(path) == 1:
                    yield child
                else:
                    yield from child.find_all(*path[1:])

    def text_at(self, *path: str) -> str:
        """Return the text of the first descendant at a path of tags; "" if no element is there."""
        return next((element.text for element in self.find_all(*path)), "")


def read_xml(path: str) -> Element:
    """Return the root element of an XML file.

    Raises:
        DatasetError: the file cannot be read, is not XML, or has a document type declaration.
    """
    builder = _Builder(path)
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            builder.parser.ParseFile(file)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DatasetError(
            f"{path}, line {error.lineno}: expected XML, found {reason}. The file may be "
            "truncated: write it again"
        ) from error
    except (LookupError, ValueError) as error:  # unknown encoding
        raise DatasetError(f"{path} cannot be decoded: {error}. Save it as UTF-8.") from error
    return builder.root.children[0]


class _Builder:
    """Builds the tree from the events of expat's parser."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root = Element("", {}, path)
        self._open = [self.root]
        self._text: list[list[str]] = [[]]
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _refuse(self, name: str, *_: object) -> None:
        raise DatasetError(
            f"{self.path}, line {self.parser.CurrentLineNumber}: expected annotations, found a "
            f"document type declaration (<!DOCTYPE {name:.40}>), which is not read. Remove it."
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        place = f"{self.path}, line {self.parser.CurrentLineNumber}"
        element = Element(tag, attributes, place)
        self._open[-1].children.append(element)
        self._open.append(element)
        self._text.append([])

    def _end(self, tag: str) -> None:
        self._open.pop().text = "".join(self._text.pop()).strip()

    def _characters(self, text: str) -> None:
        self._text[-1].append(text)
