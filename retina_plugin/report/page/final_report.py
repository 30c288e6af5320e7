"""Write the report at the end of a training run."""

from __future__ import annotations

import os
import shlex
from typing import Any

from retina_plugin.report.page.write import write_report

REPORT = "report.html"


def write_final_report(cfg: Any) -> None:
    """Write ``report.html`` into ``OUTPUT_DIR`` and print its path, if ``TEST.REPORT`` is set.

    The run has ended, and its files are complete. So an error of any kind is printed in one line
    with the command that writes the report, and not raised.
    """
    if not cfg.MODEL.RETINA_PLUGIN.TEST.REPORT:
        return
    folder = cfg.OUTPUT_DIR
    path = os.path.join(folder, REPORT)
    try:
        write_report([folder], path)
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        command = shlex.join(["retina", "report", folder])
        print(f"report: not written, {cause} To try again: {command}", flush=True)
    else:
        print(f"report: {path}", flush=True)
