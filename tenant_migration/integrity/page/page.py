"""The page: verdict, whom to look at, what is wrong and worst first, what to do, the grid, all checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tenant_migration.integrity.page.glance import glance
from tenant_migration.integrity.page.grid import grid_table
from tenant_migration.integrity.page.style import STYLE
from tenant_migration.integrity.page.text import Html, key, text, verbatim, with_commands
from tenant_migration.integrity.report import VERDICTS
from tenant_migration.planning.counted import counted

_OUTCOMES = ("passed", "failed", "errored", "skipped")


def report_as_html(report: dict[str, Any]) -> str:
    """Return the page: verdict, what is wrong and worst first, what to do, tables and tenants, all checks."""
    title = f"{report['phase'].capitalize()} checks{_of_database(report)}: {report['status'].upper()}"
    parts = [
        _verdict(report),
        glance(report.get("byTenant")),
        _issues(report),
        _recommendations(report["recommendations"]),
        grid_table(report.get("byTenant")),
        _checks(report["checks"]),
        _footer(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def _of_database(report: Mapping[str, Any]) -> str:
    return f" of {report['database']}" if report.get("database") else ""


def _verdict(report: Mapping[str, Any]) -> Html:
    outcomes = [check["outcome"] for check in report["checks"]]
    numbers = [
        (report["criticalIssues"], "critical"),
        (report["warningIssues"], "warning" if report["warningIssues"] == 1 else "warnings"),
        (report["infoIssues"], "info"),
        *((outcomes.count(outcome), f"checks {outcome}") for outcome in _OUTCOMES),
    ]
    items = "".join(f"<li><b>{number:,}</b>{name}</li>" for number, name in numbers)
    what = f"{report['phase'].capitalize()} checks{_of_database(report)}"
    return (
        f'<header class="verdict {text(report["status"])}">'
        f"<h1>{text(what)} at {text(report['timestamp'])}</h1>"
        f"<strong>{text(VERDICTS[report['phase']][report['status']])}</strong></header>\n"
        f'<ul class="numbers">{items}</ul>'
    )


def _issues(report: Mapping[str, Any]) -> Html:
    if not report["issues"]:
        return "<h2>What is wrong</h2>\n<p>Nothing was found.</p>"
    queries = _queries(report["checks"])
    rows = [
        (
            _badge(issue["severity"]),
            text(issue["table"]) + _of_column(issue),
            f"{issue['count']:,}",
            _description(issue, queries),
        )
        for issue in report["issues"]
    ]
    return f"<h2>What is wrong</h2>\n{_table(('Severity', 'Table', 'Count', 'What'), rows)}"


def _description(issue: Mapping[str, Any], queries: Mapping[tuple[Any, ...], str]) -> Html:
    parts = [text(issue["description"])]
    examples = issue.get("exampleIds", ())
    if examples:
        parts.append(f"<br>for example {', '.join(map(key, examples))}")
    query = queries.get((issue["table"], issue.get("column"), issue["description"]))
    if query:
        parts.append(
            f"<details><summary>a query that finds them</summary><pre>{verbatim(query)}</pre></details>"
        )
    return "".join(parts)


def _queries(checks: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Return the queries that find the wrong rows, by what an issue says of itself."""
    return {
        (_place(check), check.get("column"), check["description"]): check["reproduce"]
        for check in checks
        if "reproduce" in check
    }


def _place(check: Mapping[str, Any]) -> str:
    return str(check["table"] or check.get("about") or "database")


def _of_column(what: Mapping[str, Any]) -> Html:
    return f" <small>({text(what['column'])})</small>" if "column" in what else ""


def _recommendations(recommendations: Sequence[str]) -> Html:
    if not recommendations:
        return ""
    items = "".join(f"<li>{with_commands(recommendation)}</li>" for recommendation in recommendations)
    return f"<h2>What to do</h2>\n<ul>{items}</ul>"


def _checks(checks: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (
            text(check["name"]),
            text(_place(check)) + _of_column(check),
            text(check["outcome"]),
            text(check["severity"]),
            f"{check['rows_checked']:,}",
            f"{check['count']:,}",
            f"{check['duration_ms']:,.0f}",
            text(check.get("reason", "")),
        )
        for check in checks
    ]
    head = ("Check", "Table", "Outcome", "Severity", "Rows checked", "Count", "ms", "Reason")
    return (
        f"<h2>All checks</h2>\n<details><summary>{counted(len(rows), 'check')}</summary>\n"
        f"{_table(head, rows)}</details>"
    )


def _footer(report: Mapping[str, Any]) -> Html:
    """Return what the report says of itself: every further word or number that it has."""
    flat = dict(report)
    for name, value in report.items():
        if isinstance(value, Mapping) and name not in _SHOWN:
            flat |= {f"{name} {part}": of_part for part, of_part in value.items()}
    said = [
        f"{text(name)}: {text(value)}"
        for name, value in sorted(flat.items())
        if isinstance(value, str | int | float) and name not in _SHOWN
    ]
    more = f" {'; '.join(said)}." if said else ""
    return (
        f"<footer>Counts are exact; at most ten keys stand for the rows. No contents of rows are shown.{more}"
        "</footer>"
    )


_SHOWN = frozenset(
    {"timestamp", "phase", "status", "database", "byTenant"}
    | {"totalIssues", "criticalIssues", "warningIssues", "infoIssues"}
)


def _badge(severity: str) -> Html:
    return f'<span class="badge {text(severity)}">{text(severity)}</span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    numbers = {index for index, name in enumerate(head) if name in ("Count", "Rows checked", "ms")}
    lines = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="number">{cell}</td>' if index in numbers else f"<td>{cell}</td>"
            for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    names = "".join(f"<th>{text(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead>\n<tbody>{lines}</tbody></table></div>'
