"""The report of a run: one HTML page that needs no server, network or other file."""

from retina_plugin.report.page.final_report import write_final_report
from retina_plugin.report.page.write import write_report

__all__ = ["write_final_report", "write_report"]
