"""Find problems in data sets that break or harm training; docs/data_checks.md has the rules."""

from retina_plugin.data.checks.check import CheckResult, check_datasets
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.network_view import NetworkView
from retina_plugin.data.checks.quick import quick_findings
from retina_plugin.data.checks.rules import RULES, Rule

__all__ = [
    "RULES",
    "CheckResult",
    "Finding",
    "NetworkView",
    "Rule",
    "check_datasets",
    "quick_findings",
]
