"""The report of a run: one HTML page that needs no server, network or other file."""

from retina_plugin.report.page.write import write_report

__all__ = ["write_report"]
