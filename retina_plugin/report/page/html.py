"""Build HTML and SVG. All text is escaped, so that a class named <script> is shown as text."""

from __future__ import annotations

import html
import re
from typing import Any

# characters that no HTML page may contain, and halves of surrogate pairs from file names
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def escape(text: Any) -> str:
    """Escape a text for element contents and attribute values; :class:`Html` is unchanged."""
    if isinstance(text, Html):
        return text
    return html.escape(FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def join(*parts: Any) -> Html:
    """Join parts; those that are not :class:`Html` are escaped, and None is left out."""
    return Html("".join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Build an element.

    Args:
        name: name of the element.
        children: see :func:`join`.
        attributes: ``class_`` is written as class and ``data_kind`` as data-kind. None and False
            leave an attribute out; True writes it without a value.
    """
    pairs = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in ("br", "img", "input", "meta"):
        return Html(f"<{name}{pairs}>")
    return Html(f"<{name}{pairs}>{join(*children)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if name == "viewbox":
        name = "viewBox"
    return f" {name}" if value is True else f' {name}="{escape(value)}"'


def table(
    head: list[Any], rows: list[list[Any]], *, caption: str, first_is_name: bool = True
) -> Html:
    """Build a table that scrolls sideways on a narrow screen.

    Args:
        head: texts of the columns; empty for a table without them.
        rows: cells of each row.
        caption: what the table shows; read aloud, and shown above it.
        first_is_name: whether the first column names the row, and the others are numbers.
    """
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = [tag("tr", *_cells(row, first_is_name)) for row in rows]
    built = tag("table", top if head else None, tag("tbody", *body))
    return captioned(built, caption)


def captioned(built: Html, caption: str) -> Html:
    """Put a caption above a table. A caption in the table would be as wide as the table, and cut
    off on a narrow screen."""
    scroller = tag("div", built, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return tag("div", tag("p", caption, class_="caption", aria_hidden="true"), scroller)


def _cells(row: list[Any], first_is_name: bool) -> list[Html]:
    cells = [tag("td", cell, class_="number" if first_is_name else None) for cell in row]
    if first_is_name:
        cells[0] = tag("th", row[0], scope="row")
    return cells


def note(*text: Any) -> Html:
    """Build a paragraph that explains the numbers of a section."""
    return tag("p", *text, class_="note")


def section(identifier: str, title: str, *children: Any) -> Html:
    """Build a section with a heading, to which the list of contents links."""
    heading = f"{identifier}-title"
    return tag(
        "section",
        tag("h2", title, id=heading),
        *children,
        id=identifier,
        aria_labelledby=heading,
    )
