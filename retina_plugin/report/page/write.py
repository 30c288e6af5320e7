"""Write the report of one or several runs as one HTML page, and a CSV file beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import atomic_file
from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.bootstrap import interval_of
from retina_plugin.evaluation.metric_notes import detection_limit_warning
from retina_plugin.report.page.ap_tables import ap_section, operating_point_section
from retina_plugin.report.page.calibration_section import calibration_section
from retina_plugin.report.page.comparison_section import comparison_section
from retina_plugin.report.page.confusion_section import confusion_section
from retina_plugin.report.page.curve_section import curve_section
from retina_plugin.report.page.data_section import data_section
from retina_plugin.report.page.error_section import error_section
from retina_plugin.report.page.focal_section import focal_section
from retina_plugin.report.page.html import Html, join, tag
from retina_plugin.report.page.image_section import image_section
from retina_plugin.report.page.label_section import label_csv, label_section
from retina_plugin.report.page.learning_section import learning_section
from retina_plugin.report.page.run_report import RunReport, read_run, require_run
from retina_plugin.report.page.run_section import run_section
from retina_plugin.report.page.summary import summary_section

# the browser refuses all requests of the page, and reports each in its console
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
PAGE_ENDINGS = (".html", ".htm")


def write_report(folders: Sequence[str], output: str) -> list[str]:
    """Write a page about runs.

    Args:
        folders: folders of runs; the second and later ones are compared with the first.
        output: path of the page. The likely label errors are written beside it, as
            ``<name>_label_errors.csv``.

    Returns:
        The paths of the files.

    Raises:
        ConfigError, DatasetError, WeightsError: a run cannot be read; nothing is written.
        DiskError: a file cannot be written; earlier files are unchanged.
    """
    for folder in folders:
        require_run(folder)
    _require_writable(output)
    csv_path = f"{os.path.splitext(output)[0]}_label_errors.csv"
    runs = [read_run(folder) for folder in folders]
    searched = [
        (run.folder, analysis)
        for run in runs
        for analysis in run.analyses
        if not analysis.trained.all()
    ]
    contents = {output: page(runs, os.path.basename(csv_path))}
    if searched:
        contents[csv_path] = label_csv(searched)
    _write_all({path: _to_bytes(text) for path, text in contents.items()})
    return list(contents)


def _require_writable(output: str) -> None:
    folder = os.path.dirname(output) or os.curdir
    if not os.path.isdir(folder):
        raise ConfigError(f"--output {output}: the folder {folder} does not exist")
    if os.path.isdir(output):
        raise ConfigError(f"--output {output} is a folder: expected the name of a file")
    if not output.lower().endswith(PAGE_ENDINGS):  # such as config.yaml or a checkpoint of the run
        raise ConfigError(f"--output {output}: expected a name that ends in .html")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--output {output}: files cannot be written to {folder}")


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")  # names of files may have lone surrogates


def _write_all(contents: dict[str, bytes]) -> None:
    """Write all files; the first replaces its older version when all are complete."""
    if not contents:
        return
    path, *others = contents
    with atomic_file(path, size=lambda: len(contents[path])) as temporary:
        with open(temporary, "wb") as file:
            file.write(contents[path])
        _write_all({other: contents[other] for other in others})


def page(runs: Sequence[RunReport], csv_name: str) -> str:
    """Return the page as HTML."""
    several = len(runs) > 1
    analysed = [(run.folder, run.analyses[0]) for run in runs if run.analyses]
    parts: list[Html] = []
    if several and len(analysed) > 1:
        parts.append(comparison_section(*zip(*analysed, strict=True)))
    for number, run in enumerate(runs, start=1):
        prefix = f"run{number}-" if several else ""
        sections = _sections(run, prefix, csv_name)
        parts.append(tag("h1", run.folder, id=f"{prefix}top") if several else Html())
        parts += sections
    title = f"Report of {', '.join(run.folder for run in runs)}"
    body = join(
        tag("header", tag("h1" if not several else "p", title)),
        _contents(runs, analysed),
        tag("main", *parts),
        tag("dialog", tag("div"), tag("p"), aria_label="enlarged image"),
        tag("script", Html(_resource("page.js"))),
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(_resource("page.css"))),
    )
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _resource(name: str) -> str:
    return files("retina_plugin.report.page").joinpath(name).read_text(encoding="utf-8")


SECTIONS = (
    ("summary", "In short"),
    ("ap", "AP"),
    ("thresholds", "Thresholds"),
    ("curves", "Curves"),
    ("confusion", "Confusion"),
    ("errors", "Errors"),
    ("calibration", "Calibration"),
    ("images", "Images"),
    ("labels", "Labels"),
    ("learning", "Learning"),
    ("focal", "Focal loss"),
    ("data", "Data"),
    ("run", "Run"),
)


def _contents(runs: Sequence[RunReport], analysed: Sequence[tuple[str, Analysis]]) -> Html:
    """Build the links to the sections."""
    links = [tag("a", "Comparison", href="#comparison")] if len(analysed) > 1 else []
    if len(runs) > 1:
        links += [
            tag("a", run.folder, href=f"#run{number}-top")
            for number, run in enumerate(runs, start=1)
        ]
    else:
        links += [tag("a", name, href=f"#{place}") for place, name in _present(runs[0])]
    return tag("nav", *links, aria_label="contents")


def _present(run: RunReport) -> list[tuple[str, str]]:
    absent = set()
    if not run.analyses:
        absent = {place for place, _ in SECTIONS} - {"data", "run", "learning"}
    if not run.scalars:
        absent.add("learning")
    if not run.checkpoint:
        absent.add("focal")
    return [(place, name) for place, name in SECTIONS if place not in absent]


def _sections(run: RunReport, prefix: str, csv_name: str) -> list[Html]:
    notes = [tag("p", text, class_="warning") for text in run.notes]
    found: list[Html | None] = [*notes]
    noise = None
    for number, analysis in enumerate(run.analyses):
        start = prefix if number == 0 else f"{prefix}set{number + 1}-"
        if len(run.analyses) > 1:
            found.append(tag("h2", analysis.dataset.name, class_="set"))
        found += _of_set(run, analysis, start, csv_name)
        interval = analysis.sizes[""].resamples and interval_of(analysis.sizes[""].resamples.ap)
        noise = interval.half_width if interval and number == 0 else noise
    found += [
        learning_section(run, prefix, noise=noise),
        focal_section(run, run.analyses[0], prefix) if run.analyses else None,
        data_section(run, prefix),
        run_section(run, prefix),
    ]
    return [part for part in found if part is not None]


def _of_set(run: RunReport, analysis: Analysis, prefix: str, csv_name: str) -> list[Html]:
    limit = detection_limit_warning(analysis.dataset, run.cfg.TEST.DETECTIONS_PER_IMAGE)
    return [
        tag("p", limit, class_="warning") if limit else Html(),
        summary_section(run, analysis, prefix),
        ap_section(run, analysis, prefix),
        operating_point_section(run, analysis, prefix),
        curve_section(analysis, prefix),
        confusion_section(analysis, prefix),
        error_section(analysis, prefix),
        calibration_section(analysis, prefix),
        image_section(run.cfg, analysis, prefix),
        label_section(run.cfg, analysis, prefix, csv_name),
    ]
