"""Draw the packages and their imports, as docs/images/packages.svg.

    python tools/draw_packages.py

The drawing is made from the imports in the code; a test fails if it is out of date. A package is
above those that it imports. An arrow that a chain of other arrows implies is not drawn.
"""

from __future__ import annotations

from command_line import Parser  # first, to handle Ctrl-C during imports

# isort: split
import ast
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

from retina_plugin.config.files import write_atomically
from retina_plugin.engine.process import run

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "retina_plugin"
SVG_FILE = ROOT / "docs/images/packages.svg"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 150, 44, 26, 48, 24  # of a box and around it, pixels
HOSTS, PURE = {"d2", "lit"}, {"checkpoint", "modeling", "losses", "layers", "config"}
COLOURS = {"host": "#f4dcc4", "pure": "#cfe3f5", "other": "#ececec"}
Edges = dict[str, set[str]]


def imports() -> Edges:
    """Return for each package the packages that its files import, also inside functions."""
    edges: Edges = {
        path.name: set() for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
    }
    for package, imported in edges.items():
        for path in (PACKAGE / package).rglob("*.py"):
            imported |= {name for name in _imported(path) if name in edges}
        imported.discard(package)
    return edges


def _imported(path: Path) -> set[str]:
    """Return the subpackages of ``retina_plugin`` that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in dotted]
        names |= {p[1] for p in parts if p[0] == "retina_plugin" and len(p) > 1}
    return names


def without_implied(edges: Edges) -> Edges:
    """Remove each edge between packages that a longer path also connects (the transitive
    reduction)."""

    def reached(package: str) -> set[str]:
        found = set(edges[package])
        for other in edges[package]:
            found |= reached(other)
        return found

    return {
        package: imported - {x for other in imported for x in reached(other)}
        for package, imported in edges.items()
    }


def rows_of_packages(edges: Edges) -> list[list[str]]:
    """Return the packages in rows from top to bottom; each is above all that it imports."""

    def height(package: str) -> int:
        return max((height(other) + 1 for other in edges[package]), default=0)

    rows: dict[int, list[str]] = defaultdict(list)
    for package in sorted(edges):
        rows[height(package)].append(package)
    return [rows[number] for number in sorted(rows, reverse=True)]


def svg(edges: Edges) -> str:
    """Return the drawing as SVG."""
    rows = rows_of_packages(edges)
    width = 4 * MARGIN + max(map(len, rows)) * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y
    places = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for column, package in enumerate(row):
            places[package] = left + column * (WIDTH + GAP_X), MARGIN + number * (HEIGHT + GAP_Y)
    arrows = [(a, b) for a, others in without_implied(edges).items() for b in sorted(others)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        'font-family="sans-serif" font-size="16" text-anchor="middle">',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        *(_arrow(places[a], places[b], width) for a, b in arrows),
        *(_box(package, *place) for package, place in places.items()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(package: str, x: float, y: float) -> str:
    kind = "host" if package in HOSTS else "pure" if package in PURE else "other"
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{COLOURS[kind]}" stroke="#444"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 6:g}">{escape(package)}</text>'
    )


def _arrow(upper: tuple[float, float], lower: tuple[float, float], width: float) -> str:
    """Draw an arrow from the lower edge of a box to the upper edge of a box below it. An arrow that
    passes other rows goes around them through the nearer margin."""
    x0, y0, x1, y1 = upper[0] + WIDTH / 2, upper[1] + HEIGHT, lower[0] + WIDTH / 2, lower[1]
    if y1 - y0 > GAP_Y:
        left = x0 + x1 < width
        aside, bypass = (-WIDTH / 2, MARGIN / 2) if left else (WIDTH / 2, width - MARGIN / 2)
        x0, y0, x1, y1 = x0 + aside, y0 - HEIGHT / 2, x1 + aside, y1 + HEIGHT / 2
        curve = f"C{bypass:g},{y0:g} {bypass:g},{y1:g} {x1:g},{y1:g}"
    else:
        bend = (y1 - y0) / 2
        curve = f"C{x0:g},{y0 + bend:g} {x1:g},{y1 - bend:g} {x1:g},{y1:g}"
    return (
        f'<path d="M{x0:g},{y0:g} {curve}" fill="none" stroke="#666" stroke-width="1.3" '
        'marker-end="url(#tip)"/>'
    )


def main(argv: list[str] | None = None) -> None:
    Parser(__doc__).parse_args(argv)
    write_atomically(str(SVG_FILE), svg(imports()))
    print(f"written: {SVG_FILE}")


if __name__ == "__main__":
    run(main)
