"""The report as a person reads it on a terminal, or in a log without one."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tenant_migration.planning.counted import counted

_STATUS_STYLES = {"pass": "bold green", "warning": "bold yellow", "fail": "bold red"}
_SEVERITY_STYLES = {"critical": "red", "warning": "yellow", "info": "cyan"}


def report_as_text(report: dict[str, Any]) -> RenderableType:
    """Return the report for rich: status, issues with counts and examples, what to do, what was skipped."""
    parts: list[RenderableType] = [_headline(report)]
    if report["issues"]:
        parts.append(_issues(report["issues"]))
    if report["recommendations"]:
        parts.append(Text("\nWhat to do:"))
        parts += [Text(f"  - {recommendation}") for recommendation in report["recommendations"]]
    skipped = [check for check in report["checks"] if check["outcome"] == "skipped" and _is_configured(check)]
    if skipped:
        parts.append(Text("\nNot asked:"))
        parts += [Text(f"  - {_what(check)}: {check['reason']}") for check in skipped]
    return Group(*parts)


def _what(check: dict[str, Any]) -> str:
    return f"{check['name']} {check['table']}" if check["table"] else str(check["name"])


def _is_configured(check: dict[str, Any]) -> bool:
    """Whether a person decided to skip it; what has nothing to look at is in the JSON."""
    return str(check.get("reason", "")).startswith("by configuration")


def _headline(report: dict[str, Any]) -> Text:
    outcomes = [check["outcome"] for check in report["checks"]]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {outcome}" for outcome in ("passed", "failed", "errored", "skipped")
    )
    text = Text(f"{report['phase'].capitalize()} checks: ")
    text.append(report["status"].upper(), style=_STATUS_STYLES[report["status"]])
    text.append(
        f"\n{report['criticalIssues']} critical, {counted(report['warningIssues'], 'warning')}, "
        f"{report['infoIssues']} info"
        f"; checks: {counts}"
    )
    return text


def _issues(issues: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Severity")
    table.add_column("Table", overflow="fold")
    table.add_column("Count", justify="right")
    table.add_column("Issue", overflow="fold", ratio=1)
    for issue in issues:
        where = issue["table"] + (f" ({issue['column']})" if "column" in issue else "")
        what = Text(issue["description"])
        if "exampleIds" in issue:
            what.append(f"\nfor example {', '.join(issue['exampleIds'])}", style="dim")
        severity = Text(issue["severity"], style=_SEVERITY_STYLES[issue["severity"]])
        table.add_row(severity, Text(where), f"{issue['count']:,}", what)
    return table
