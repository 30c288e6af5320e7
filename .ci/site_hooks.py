"""Adapt the pages to the site: the README is its first page, and the reference is made from
docstrings.

The files in docs/ are written for git hosts. Here links to files outside of docs/ become plain
text, and titles of code blocks and formulas get the syntax of the site.
"""

from __future__ import annotations

import json
import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

MODULES = {  # what users call -> its public names
    "retina_plugin": ["get_cfg", "build_model", "load_weights", "load", "train"],
    "retina_plugin.inference.detector": ["Detector"],
    "retina_plugin.inference.result": ["Result"],
    "retina_plugin.export.load": ["load_exported"],
    "retina_plugin.config": ["Key", "check_rules", "ConfigError"],
    "retina_plugin.data": ["load_dataset", "read_image", "Dataset"],
    "retina_plugin.losses": ["sigmoid_focal_loss", "ClassLoss", "BoxLoss"],
    "retina_plugin.modeling.retinanet": ["RetinaNet"],
    "retina_plugin.modeling.structures": ["Anchors", "Predictions", "Assignment"],
    "retina_plugin.modeling.assigners.max_iou": ["match_anchors"],
    "retina_plugin.engine.trackers.tracker": ["Tracker", "TrackedImage", "TrackedRun"],
    "retina_plugin.engine.doctor.finding": ["Finding"],
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
TITLE = re.compile(r"^```(\w+) +(\S+)$", re.MULTILINE)
INLINE_MATH = re.compile(r"\$`(.+?)`\$")
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):\s*<code>~?([\w.]+)</code>")
BLOCK_MATH = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page, the notebook and the reference."""
    with open("README.md", encoding="utf-8") as file:
        readme = re.sub(r"\]\(docs/", "](", file.read())
    readme = re.sub(r"\]\((?!https?:|#|[\w/]+\.(md|png|svg)|images/)", "](../", readme)
    files.append(File.generated(config, "index.md", content=readme))
    files.append(File.generated(config, "first_run.md", content=notebook()))
    files.append(File.generated(config, "reference.md", content=reference()))
    return files


def notebook() -> str:
    """Return the notebook as a page."""
    with open("docs/first_run.ipynb", encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    parts = [f"```python\n{text}\n```" if kind == "code" else text for text, kind in texts]
    parts.insert(1, "This page is a [notebook](first_run.ipynb).")
    return "\n\n".join(parts)


def reference() -> str:
    """Return the page with the docstrings of public names."""
    parts = ["# Python", "From the docstrings of the code.\n"]
    for module, names in MODULES.items():
        parts.append(f"## {module}\n")
        parts += [f"::: {module}.{name}\n" for name in names]
    return "\n".join(parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite what the site cannot show."""

    def link(match: re.Match[str]) -> str:
        path = match[2].partition("#")[0]
        if path.endswith("first_run.ipynb") and page.file.src_uri != "first_run.md":
            return f"[{match[1]}](first_run.md)"
        known = not path or files.get_file_from_path(path) is not None
        return match[0] if known else match[1]

    def formula(match: re.Match[str]) -> str:
        """A formula that is wider than a phone scrolls in its own box."""
        math = convert(match[1].strip(), display="block")
        return f'<div style="overflow-x: auto">{math}</div>'

    markdown = BLOCK_MATH.sub(formula, markdown)
    markdown = INLINE_MATH.sub(lambda m: convert(m[1]), markdown)
    markdown = TITLE.sub(r'```\1 title="\2"', markdown)
    return LINK.sub(link, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the roles of docstrings, such as ``:func:`retina_plugin.load```: by a link if the
    name is on the page, else by the name alone."""

    def name(match: re.Match[str]) -> str:
        code = f"<code>{match[1]}</code>"
        return f'<a href="#{match[1]}">{code}</a>' if f'id="{match[1]}"' in html else code

    return ROLE.sub(name, html)
