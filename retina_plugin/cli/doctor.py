"""Check the installation and the machine, and say how to cure what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retina_plugin.cli.parser import file_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from retina_plugin.cli.parser import Parser
    from retina_plugin.engine.doctor.finding import Check, Finding

EXAMPLES = """Check Python, the libraries, the hosts, the GPU, memory, disk and known conflicts. At
the end, a tiny model is trained, resumed and exported on each host. Each check prints one line: ok,
note, warning or broken; what was found; and the cure.

    retina doctor
    retina doctor --quick
    retina doctor --json report.json

The exit code is 1 if something is broken, else 0. docs/doctor.md explains the checks."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--quick", action="store_true", help="train no model")
    parser.add_argument(
        "--json",
        nargs="?",
        const="",
        type=file_name_or_output,
        metavar="FILE",
        help="write the findings as JSON; without FILE, print them instead of the lines",
    )


def file_name_or_output(text: str) -> str:
    """Check the value of ``--json``; without FILE it is "", which is valid."""
    return file_name(text) if text else text


def run(args: argparse.Namespace) -> None:
    """Call the checks, and exit with code 1 if something is broken, 2 if FILE cannot be written."""
    import sys

    from retina_plugin.cli.output import write
    from retina_plugin.config.disk import DiskError

    prints_lines = args.json != ""
    findings = {}
    for name, check in checks(quick=args.quick).items():
        findings[name] = _run_quietly(check)
        if prints_lines:
            write(f"{findings[name].line(name)}\n")
    if prints_lines:
        write(f"{summary(findings)}\n")
    if args.json is not None:
        try:
            _write_json(findings, args.json)
        except DiskError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
    if any(finding.status == "broken" for finding in findings.values()):
        sys.exit(1)


def checks(*, quick: bool) -> Mapping[str, Check]:
    """Return the table of checks: name -> function.

    Args:
        quick: leave out the self-tests, which train.
    """
    from retina_plugin.cli.self_test import SELF_TESTS
    from retina_plugin.engine.doctor.checks import CHECKS

    return {"retina_plugin": package, **CHECKS, **({} if quick else SELF_TESTS)}


def package() -> Finding:
    """The version of this package, and whether another one is installed too."""
    from retina_plugin.cli.version import version
    from retina_plugin.engine.doctor.finding import OK, WARNING, Finding

    first, *warnings = version().splitlines()
    found = first.removeprefix("retina_plugin ")
    if warnings:
        hint = "; ".join(warnings).removeprefix("warning: ")
        return Finding(WARNING, f"{found}; {hint}", "pip uninstall -y retina_plugin, or unset it")
    return Finding(OK, found)


def _run_quietly(check: Check) -> Finding:
    """Run a check; what libraries print to standard output goes to standard error."""
    import contextlib
    import sys

    from retina_plugin.engine.doctor.finding import run_check

    with contextlib.redirect_stdout(sys.stderr):
        return run_check(check)


def summary(findings: Mapping[str, Finding]) -> str:
    """Return the last line: how many checks found something."""
    statuses = [finding.status for finding in findings.values()]
    broken, warnings = statuses.count("broken"), statuses.count("warning")
    parts = [f"{broken} broken" if broken else "nothing is broken"]
    if warnings:
        parts.append(f"{warnings} warning{'s' if warnings > 1 else ''}")
    return f"{len(findings)} checks: {', '.join(parts)}"


def _write_json(findings: Mapping[str, Finding], path: str) -> None:
    import json

    from retina_plugin.cli.output import write
    from retina_plugin.config.files import write_atomically

    entries = [{"check": name, **finding._asdict()} for name, finding in findings.items()]
    text = json.dumps(entries, indent=1) + "\n"
    if path:
        write_atomically(path, text)
    else:
        write(text)
