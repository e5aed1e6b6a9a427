"""The report as one page for a browser: no script, nothing loaded from anywhere, every value escaped.

It shows keys and counts, never what a row holds. The page is the JSON report, rendered: what is not in that
is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tenant_migration.integrity import by_tenant
from tenant_migration.integrity.report import VERDICTS
from tenant_migration.planning.counted import counted

Html = str
"""Text that is HTML already."""

TABLES_MOST = 40
"""Columns of the grid; of more tables only those with something to show are columns."""
_CHARACTERS_MOST = 300
_OUTCOMES = ("passed", "failed", "errored", "skipped")

_STYLE = """
:root { --critical: #b3261e; --warning: #9a6700; --info: #0b57a4; --pass: #1a7f37; --line: #d0d7de; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 0 auto; padding: 24px;
       max-width: 1500px; }
h1 { font-size: 15px; font-weight: 600; margin: 0; color: inherit; }
h2 { font-size: 18px; margin: 32px 0 8px; }
.verdict { padding: 16px 20px; border-radius: 8px; color: #fff; }
.verdict strong { font-size: 26px; display: block; }
.verdict.fail { background: var(--critical); } .verdict.warning { background: var(--warning); }
.verdict.pass { background: var(--pass); }
.numbers { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0 0; padding: 0; list-style: none; }
.numbers li { border: 1px solid var(--line); border-radius: 8px; padding: 6px 14px; }
.numbers b { font-size: 20px; margin-right: 6px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid var(--line); padding: 5px 9px; text-align: left; vertical-align: top; }
th { background: #f6f8fa; font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
code { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f8fa; border: 1px solid #e6e9ec;
       border-radius: 4px; padding: 0 3px; }
pre { background: #f6f8fa; padding: 10px; overflow-x: auto; margin: 6px 0; }
.badge { border-radius: 10px; padding: 1px 9px; font-size: 12px; font-weight: 600; color: #fff;
         white-space: nowrap; }
.badge.critical { background: var(--critical); } .badge.warning { background: var(--warning); }
.badge.info { background: var(--info); } .badge.note { background: #eaeef2; color: #1f2328; }
.unseen { color: var(--critical); font-weight: 700; }
.grid th.tenant { position: sticky; left: 0; min-width: 210px; font-weight: 400; }
.grid td { text-align: center; min-width: 90px; }
.grid td.ok { color: var(--pass); } .grid td.pending { color: #656d76; background: #f6f8fa; }
.grid td.unknown { background: #fbe5e3; font-weight: 700; }
.grid td.critical { background: #fbd5d2; color: #7d1a14; font-weight: 700; }
.grid td.warning { background: #fdefc3; color: #5c3e00; font-weight: 700; }
.grid td.info { background: #dcebfb; color: #0b3d70; }
.grid small { display: block; font-weight: 400; }
small { color: inherit; opacity: .85; }
summary { cursor: pointer; }
footer { margin-top: 32px; color: #57606a; font-size: 13px; }
"""


def report_as_html(report: dict[str, Any]) -> str:
    """Return the page: verdict, what is wrong and worst first, what to do, tables and tenants, all checks."""
    title = f"{report['phase'].capitalize()} checks{_of_database(report)}: {report['status'].upper()}"
    parts = [
        _verdict(report),
        _issues(report),
        _recommendations(report["recommendations"]),
        _grid(report.get("byTenant")),
        _checks(report["checks"]),
        _footer(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def _text(value: object) -> Html:
    """Escape a text; what nobody would see in it (a control character, a no-break space) is spelled out."""
    text = str(value)
    if len(text) > _CHARACTERS_MOST:
        return f"{_text(text[:_CHARACTERS_MOST])}… ({len(text):,} characters)"
    return "".join(map(_character, text))


def _character(character: str) -> Html:
    if character.isprintable():
        return escape(character)
    spelled = character.encode("unicode_escape").decode("ascii")
    return f'<span class="unseen">{escape(spelled)}</span>'


def _key(value: str) -> Html:
    """Return an id or a key, apart from the text around it, in whatever direction it is written."""
    return f"<bdi><code>{_text(value)}</code></bdi>" if value else "<em>(empty)</em>"


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
        f'<header class="verdict {_text(report["status"])}">'
        f"<h1>{_text(what)} at {_text(report['timestamp'])}</h1>"
        f"<strong>{_text(VERDICTS[report['phase']][report['status']])}</strong></header>\n"
        f'<ul class="numbers">{items}</ul>'
    )


def _issues(report: Mapping[str, Any]) -> Html:
    if not report["issues"]:
        return "<h2>What is wrong</h2>\n<p>Nothing was found.</p>"
    queries = _queries(report["checks"])
    rows = [
        (
            _badge(issue["severity"]),
            _text(issue["table"]) + _of_column(issue),
            f"{issue['count']:,}",
            _description(issue, queries),
        )
        for issue in report["issues"]
    ]
    return f"<h2>What is wrong</h2>\n{_table(('Severity', 'Table', 'Count', 'What'), rows)}"


def _description(issue: Mapping[str, Any], queries: Mapping[tuple[Any, ...], str]) -> Html:
    parts = [_text(issue["description"])]
    examples = issue.get("exampleIds", ())
    if examples:
        parts.append(f"<br>for example {', '.join(map(_key, examples))}")
    query = queries.get((issue["table"], issue.get("column"), issue["description"]))
    if query:
        parts.append(
            f"<details><summary>a query that finds them</summary><pre>{_lines(query)}</pre></details>"
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
    return f" <small>({_text(what['column'])})</small>" if "column" in what else ""


def _lines(text: str) -> Html:
    return "\n".join("".join(map(_character, line)) for line in text.split("\n"))


def _recommendations(recommendations: Sequence[str]) -> Html:
    if not recommendations:
        return ""
    items = "".join(f"<li>{_text(recommendation)}</li>" for recommendation in recommendations)
    return f"<h2>What to do</h2>\n<ul>{items}</ul>"


def _grid(grid: Mapping[str, Any] | None) -> Html:
    if grid is None or not grid["rows"]:
        return ""
    shown = _columns(grid)
    head = "".join(f"<th>{_text(table)}</th>" for table in shown)
    unknown = {
        table
        for row in grid["rows"]
        for table, cell in row["cells"].items()
        if cell["outcome"] == "errored" and row["kind"] == by_tenant.WHOLE_TABLE
    }
    lines = "\n".join(
        f'<tr><th class="tenant">{_row_name(row)}</th>'
        + "".join(_cell(row, table, is_known=table not in unknown) for table in shown)
        + "</tr>"
        for row in grid["rows"]
    )
    left_out = {
        "tenant": grid["tenants"] - grid["listed"],
        "table without findings": len(grid["tables"]) - len(shown),
    }
    names = " and ".join(_count_of(number, what) for what, number in left_out.items() if number)
    more = f"<p>Not listed, and with nothing worse than what is: {names}.</p>" if names else ""
    return (
        "<h2>Tables and tenants</h2>\n"
        "<p>✓ nothing found; a number counts what is wrong, under it the checks that found it; "
        "? a check could not run.</p>\n"
        '<div class="wide"><table class="grid">'
        f'<thead><tr><th class="tenant">Tenant</th>{head}</tr></thead>\n'
        f"<tbody>{lines}</tbody></table></div>\n{more}"
    )


def _count_of(number: int, what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{counted(number, noun)} {rest}".strip()


def _columns(grid: Mapping[str, Any]) -> list[str]:
    tables: list[str] = grid["tables"]
    if len(tables) <= TABLES_MOST:
        return tables
    concerned = {table for row in grid["rows"] for table in row["cells"]}
    return [table for table in tables if table in concerned][:TABLES_MOST] or tables[:TABLES_MOST]


def _row_name(row: Mapping[str, Any]) -> Html:
    if row["kind"] == by_tenant.WHOLE_TABLE:
        return "<em>the whole table</em>"
    if row["kind"] == by_tenant.WITHOUT_TENANT:
        return "<em>rows without a tenant (NULL)</em>"
    name = _key(row["tenant"])
    if row["kind"] == by_tenant.UNMAPPED:
        name += ' <span class="badge critical">no mapping</span>'
    if "remark" in row:
        name += f' <span class="badge note">{_text(row["remark"])}</span>'
    return name


def _cell(row: Mapping[str, Any], table: str, *, is_known: bool) -> Html:
    cell = row["cells"].get(table)
    if cell is None:
        if row["kind"] != by_tenant.MAPPED:
            return "<td></td>"
        return '<td class="ok">✓</td>' if is_known else '<td class="unknown">?</td>'
    if "checks" not in cell:
        return f'<td class="pending">{_text(cell["outcome"])}</td>'
    shown = "?" if cell["outcome"] == "errored" else f"{cell['count']:,}"
    checks = "<br>".join(_text(name) for name in cell["checks"])
    return f'<td class="{_text(cell["severity"])}">{shown}<small>{checks}</small></td>'


def _checks(checks: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (
            _text(check["name"]),
            _text(_place(check)) + _of_column(check),
            _text(check["outcome"]),
            _text(check["severity"]),
            f"{check['rows_checked']:,}",
            f"{check['count']:,}",
            f"{check['duration_ms']:,.0f}",
            _text(check.get("reason", "")),
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
        f"{_text(name)}: {_text(value)}"
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
    return f'<span class="badge {_text(severity)}">{_text(severity)}</span>'


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
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead>\n<tbody>{lines}</tbody></table></div>'
