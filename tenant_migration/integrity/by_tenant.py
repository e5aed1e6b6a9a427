"""What the checks say of each table for each tenant: the part of a report that is read at a glance.

Belongs here: the grid of tables and tenants as a value. How it looks is `page`. A cell that is not
there found nothing; a check that named no tenant stands in the row of the whole table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tenant_migration.integrity.model import CheckResult, Outcome

TENANTS_MOST = 500
"""Tenants that the grid lists; those with findings come first."""
CELLS_MOST = 20_000
"""With many tables it lists fewer tenants, so that the report stays one that a browser opens."""

WHOLE_TABLE = "whole table"
WITHOUT_TENANT = "without a tenant"
UNMAPPED = "unmapped"
MAPPED = "tenant"

_NULL_KEYS = "null_tenant_keys"
UNMAPPED_TENANTS = "tenants_have_mapping"
_MIGRATED = frozenset({"completed", "verifying"})
_PENDING = "pending"
_KINDS = (WHOLE_TABLE, WITHOUT_TENANT, UNMAPPED, MAPPED)
_SEVERITIES = ("critical", "warning", "info", "")

Cell = dict[str, Any]
_RowKey = tuple[str, str | None]


def grid(
    results: Sequence[CheckResult],
    *,
    tables: Sequence[str],
    tenants: Iterable[str],
    states: Mapping[tuple[str, str], str] | None = None,
) -> dict[str, Any]:
    """Return the grid of a report.

    Args:
        results: of one phase.
        tables: those that were looked at, in the plan's order.
        tenants: those that have a mapping and were looked at.
        states: after a migration: (table, tenant) -> state as the database records it; what is not there is
            pending. None: before a migration.

    Returns:
        `tables`; `tenants` and `listed`, how many there are and how many the grid has; of all of them
        `withFindings`, `unusual` (ids) and `notMigrated` {state: pairs}; `rows[] {kind, tenant, remark?,
        cells {table: {outcome, severity?, count?, checks?}}}`, worst first. `outcome` is that of the checks
        (`failed`, `errored`) or the state of a pair that is not migrated.
    """
    rows: dict[_RowKey, dict[str, Cell]] = {(MAPPED, tenant): {} for tenant in tenants}
    mapped = [tenant for _, tenant in rows if tenant is not None]
    for result in results:
        if result.table is not None and result.outcome in (Outcome.FAILED, Outcome.ERRORED):
            for key, count in _concerned(result):
                _add(rows.setdefault(key, {}), result, count)
    with_findings = sum(bool(cells) and kind == MAPPED for (kind, _), cells in rows.items())
    unusual = sum(remark(tenant) is not None for _, tenant in rows)
    ordered = sorted(rows.items(), key=lambda row: _order(*row))
    most = min(TENANTS_MOST, max(1, CELLS_MOST // max(1, len(tables))))
    tenants_there = sum(tenant is not None for _, tenant in rows)
    listed = ordered[: len(rows) - tenants_there + most]  # rows that are of no tenant come first
    if states is not None:
        for (kind, tenant), cells in listed:
            if kind == MAPPED:
                _add_states(cells, states, tables, str(tenant))
    return {
        "tables": list(tables),
        "tenants": tenants_there,
        "listed": min(most, tenants_there),
        "withFindings": with_findings,
        "unusual": unusual,
        "notMigrated": {} if states is None else _not_migrated(states, tables, mapped),
        "rows": [_row(key, cells) for key, cells in listed],
    }


def _add_states(
    cells: dict[str, Cell], states: Mapping[tuple[str, str], str], tables: Sequence[str], tenant: str
) -> None:
    """Say of a tenant's tables that are not migrated in which state they are, where nothing was found."""
    for table in tables:
        state = states.get((table, tenant), _PENDING)
        if state not in _MIGRATED and table not in cells:
            cells[table] = {"outcome": state}


def _not_migrated(
    states: Mapping[tuple[str, str], str], tables: Sequence[str], tenants: Sequence[str]
) -> dict[str, int]:
    """Return how many pairs are in which state, of those that are not migrated; of all tenants."""
    looked_at = (frozenset(tables), frozenset(tenants))
    counts = Counter(
        state for (table, tenant), state in states.items() if table in looked_at[0] and tenant in looked_at[1]
    )
    counts[_PENDING] += len(tables) * len(tenants) - counts.total()
    return {state: count for state, count in sorted(counts.items()) if count and state not in _MIGRATED}


def _concerned(result: CheckResult) -> list[tuple[_RowKey, int]]:
    """Return the rows in which a result stands, with its count there."""
    if result.outcome is Outcome.ERRORED:
        return [((WHOLE_TABLE, None), 0)]
    if result.name == _NULL_KEYS:
        return [((WITHOUT_TENANT, None), result.count)]
    if result.name == UNMAPPED_TENANTS:
        return _unmapped(result)
    by_tenant: Mapping[str, int] = result.details.get("tenants") or {}
    if by_tenant:
        return [((MAPPED, tenant), count) for tenant, count in by_tenant.items()]
    return [((WHOLE_TABLE, None), result.count)]


def _unmapped(result: CheckResult) -> list[tuple[_RowKey, int]]:
    """Return the tenants without mapping that the result names; only ten are, so their number stands too."""
    rows: Mapping[str, int] = result.details.get("rows_by_value") or {}
    only = result.details.get("rows", 0) if result.count == 1 else 0
    found: list[tuple[_RowKey, int]] = [
        ((UNMAPPED, value), rows.get(value, only)) for value in result.examples
    ]
    if result.count > len(found):
        found.append(((WHOLE_TABLE, None), result.count))
    return found


def _add(cells: dict[str, Cell], result: CheckResult, count: int) -> None:
    assert result.table is not None  # noqa: S101 - the caller looks
    severity = "critical" if result.outcome is Outcome.ERRORED else result.severity
    cell = cells.get(result.table)
    if cell is None:
        cells[result.table] = {
            "outcome": result.outcome.value,
            "severity": severity,
            "count": count,
            "checks": [result.name],
        }
        return
    if result.outcome is Outcome.ERRORED:
        cell["outcome"] = result.outcome.value
    cell["severity"] = min(cell["severity"], severity, key=_SEVERITIES.index)
    cell["count"] = max(cell["count"], count)  # several checks may have found the same rows
    if result.name not in cell["checks"]:
        cell["checks"].append(result.name)


def _order(key: _RowKey, cells: Mapping[str, Cell]) -> tuple[Any, ...]:
    kind, tenant = key
    worst = min((_SEVERITIES.index(cell.get("severity", "")) for cell in cells.values()), default=3)
    return _KINDS.index(kind), worst, remark(tenant) is None, tenant or ""


def _row(key: _RowKey, cells: dict[str, Cell]) -> dict[str, Any]:
    kind, tenant = key
    row: dict[str, Any] = {"kind": kind, "tenant": tenant}
    said = remark(tenant)
    if said is not None:
        row["remark"] = said
    return {**row, "cells": cells}


def remark(tenant: str | None) -> str | None:
    """Return what is unusual about an id, if anything: such ids are what scripts trip on."""
    if tenant is None:
        return None
    if not tenant:
        return "empty"
    found = [
        name
        for name, is_there in (
            ("a quote", any(character in "'\"`" for character in tenant)),
            ("a backslash", "\\" in tenant),
            ("a blank at its end", tenant != tenant.strip()),
            ("an invisible character", not tenant.isprintable()),
        )
        if is_there
    ]
    return f"has {' and '.join(found)}" if found else None
