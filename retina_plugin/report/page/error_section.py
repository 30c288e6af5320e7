"""The section about the kinds of errors, and the AP50 that each kind costs."""

from __future__ import annotations

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.error_kinds import KINDS
from retina_plugin.report.page.chart import bar_chart
from retina_plugin.report.page.html import Html, note, section, table, tag
from retina_plugin.report.page.numbers import number
from retina_plugin.report.page.summary import MEANINGS

RULE = (
    "The kinds are those of TIDE (arXiv 2008.08115), at IoU 0.5, for all detections of the "
    "evaluation. The cost of a kind is the gain in AP50 when all its errors are corrected. The "
    "costs of several kinds do not add up. A wrong detection has the first of these kinds that "
    "applies: background, if the image has no boxes; misplaced, if its highest IoU with a box "
    "of its class is from 0.1 to 0.5; wrong class, if its IoU with a box of another class is "
    "at least 0.5; duplicate, if its IoU is at least 0.5 with a box of its class that another "
    "detection found; background, if all its IoU are at most 0.1; both (wrong class and "
    "misplaced), in all other cases. A box is missed if no detection found it and it is not "
    "the box of a misplaced or wrong-class detection."
)


def error_section(analysis: Analysis, prefix: str) -> Html:
    """Build the section."""
    costs, total = analysis.costs, analysis.costs.total
    chart = bar_chart(
        KINDS, total.tolist(), title="AP50 that each kind of error costs", unit="AP50"
    )
    meanings = [tag("li", tag("b", kind), f": {MEANINGS[kind]}") for kind in KINDS]
    order = np.argsort(np.nan_to_num(costs.ap50, nan=np.inf), kind="stable")
    rows = [
        [analysis.dataset.class_names[i], number(float(costs.ap50[i])), *_cells(analysis, i)]
        for i in order
    ]
    return section(
        f"{prefix}errors",
        "Where errors come from",
        tag("div", chart, tag("ul", *meanings), class_="row"),
        table(
            ["class", "AP50", *KINDS],
            rows,
            caption="AP50 that each kind of error costs in a class, and the number of errors",
        ),
        note(RULE),
    )


def _cells(analysis: Analysis, index: int) -> list[Html]:
    return [
        Html(f"{number(float(cost))}{tag('span', int(count), class_='interval')}")
        for cost, count in zip(
            analysis.costs.of_classes[:, index], analysis.costs.counts[:, index], strict=True
        )
    ]
