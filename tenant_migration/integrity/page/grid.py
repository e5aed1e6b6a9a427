"""The table of tables and tenants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenant_migration.integrity import by_tenant
from tenant_migration.integrity.page.text import Html, breakable, key, text
from tenant_migration.planning.counted import counted

TABLES_MOST = 40
"""Columns of the grid; of more tables only those with something to show are columns."""


def grid_table(grid: Mapping[str, Any] | None) -> Html:
    """Return the grid of a report: tenants down, tables across."""
    if grid is None or not grid["rows"]:
        return ""
    shown = _columns(grid)
    head = "".join(f"<th>{breakable(table)}</th>" for table in shown)
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
    name = key(row["tenant"])
    if row["kind"] == by_tenant.UNMAPPED:
        name += ' <span class="badge critical">no mapping</span>'
    if "remark" in row:
        name += f' <span class="badge note">{text(row["remark"])}</span>'
    return name


def _cell(row: Mapping[str, Any], table: str, *, is_known: bool) -> Html:
    cell = row["cells"].get(table)
    if cell is None:
        if row["kind"] != by_tenant.MAPPED:
            return "<td></td>"
        return '<td class="ok">✓</td>' if is_known else '<td class="unknown">?</td>'
    if "checks" not in cell:
        return f'<td class="pending">{text(cell["outcome"])}</td>'
    shown = "?" if cell["outcome"] == "errored" else f"{cell['count']:,}"
    checks = "<br>".join(text(name) for name in cell["checks"])
    return f'<td class="{text(cell["severity"])}">{shown}<small>{checks}</small></td>'
