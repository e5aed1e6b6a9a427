"""Whom to look at first: the unmapped, rows without a tenant, findings, unusual ids; a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tenant_migration.integrity import by_tenant
from tenant_migration.integrity.page.text import Html, key, text
from tenant_migration.planning.counted import counted

_NAMES_MOST = 10


def glance(grid: Mapping[str, Any] | None) -> Html:
    """Return whom to look at first, a line each: the unmapped, rows without tenant, findings, unusual ids."""
    if grid is None:
        return ""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in grid["rows"]:
        rows.setdefault(row["kind"], []).append(row)
    mapped = rows.get(by_tenant.MAPPED, [])
    found = [row for row in mapped if _findings(row)]
    unusual = [row for row in (*rows.get(by_tenant.UNMAPPED, ()), *mapped) if "remark" in row]
    lines = [
        _line(
            "without a mapping",
            rows.get(by_tenant.UNMAPPED, []),
            _where,
            and_more=_names_not_all(rows.get(by_tenant.WHOLE_TABLE, [])),
        ),
        *(_without_tenant(row) for row in rows.get(by_tenant.WITHOUT_TENANT, ())),
        _line("with findings", found, _where, count=grid["withFindings"]),
        *(_of_whole_tables(row) for row in rows.get(by_tenant.WHOLE_TABLE, ())),
        _not_migrated(grid["notMigrated"]),
        _line(
            "with an unusual id",
            unusual,
            lambda row: text(row["remark"]),
            severity="",
            count=grid["unusual"],
        ),
    ]
    shown = "\n".join(filter(None, lines))
    return f'<ul class="glance">{shown}</ul>' if shown else ""


def _findings(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {table: cell for table, cell in row["cells"].items() if "checks" in cell}


def _worst(rows: Iterable[Mapping[str, Any]]) -> str:
    severities = {cell["severity"] for row in rows for cell in _findings(row).values()}
    return next((severity for severity in ("critical", "warning", "info") if severity in severities), "")


def _line(
    what: str,
    rows: Sequence[Mapping[str, Any]],
    describe: Callable[[Mapping[str, Any]], Html],
    *,
    severity: str | None = None,
    count: int | None = None,
    and_more: bool = False,
) -> Html:
    """Return a line about tenants.

    Args:
        what: they have in common.
        rows: those that the grid has.
        describe: what stands behind each name.
        severity: None: the worst of what was found.
        count: how many there are; None: all are in the grid.
        and_more: whether there are more that nobody named.
    """
    if not rows:
        return ""
    total = len(rows) if count is None else count
    names = [f"{key(row['tenant'])} ({describe(row)})" for row in rows[:_NAMES_MOST]]
    if total > len(names):
        names.append(f"{total - len(names):,} more")
    kind = _worst(rows) if severity is None else severity
    least = "at least " if and_more else ""
    return f'<li class="{kind}"><b>{least}{counted(total, "tenant")} {what}</b>: {", ".join(names)}</li>'


def _names_not_all(whole_tables: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether a table has more tenants without a mapping than its check names."""
    return any(
        by_tenant.UNMAPPED_TENANTS in cell["checks"]
        for row in whole_tables
        for cell in _findings(row).values()
    )


def _where(row: Mapping[str, Any]) -> Html:
    cells = _findings(row)
    count = sum(cell["count"] for cell in cells.values())
    what = counted(count, "row") if row["kind"] == by_tenant.UNMAPPED else f"{count:,}"
    return f"{what} in {counted(len(cells), 'table')}"


def _without_tenant(row: Mapping[str, Any]) -> Html:
    cells = _findings(row)
    rows = counted(sum(cell["count"] for cell in cells.values()), "row")
    tables = ", ".join(f"{text(table)} {cell['count']:,}" for table, cell in cells.items())
    return f'<li class="{_worst([row])}"><b>{rows} without a tenant (NULL)</b>: {tables}</li>'


def _of_whole_tables(row: Mapping[str, Any]) -> Html:
    cells = _findings(row)
    names = [f"{text(table)} ({text(', '.join(cell['checks']))})" for table, cell in cells.items()]
    if len(names) > _NAMES_MOST:
        names = [*names[:_NAMES_MOST], f"{len(names) - _NAMES_MOST:,} more"]
    what = f"<b>{counted(len(cells), 'table')} with findings of no single tenant</b>"
    return f'<li class="{_worst([row])}">{what}: {", ".join(names)}</li>'


def _not_migrated(states: Mapping[str, int]) -> Html:
    if not states:
        return ""
    names = ", ".join(f"{count:,} {text(state)}" for state, count in states.items())
    return f"<li><b>Tables of tenants that are not migrated</b>: {names}</li>"
