"""From what a person asked for (names of tables and tenants) to what a run does, or a clear refusal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.errors import Refused, UnknownTable, UnknownTenant
from tenant_migration.mapping.repository import mapped_tenants
from tenant_migration.planning.model import Plan, TablePlan

_NAMES_SHOWN = 5


def select_tables(plan: Plan, names: Sequence[str] | None) -> list[TablePlan]:
    """Return the tables asked for, in the plan's order; None: all.

    Raises:
        UnknownTable: a name that is not managed, or a bare name that two schemas share.
    """
    if names is None:
        return list(plan.tables)
    chosen = {_select_table(plan, name).qualified_name for name in names}
    return [table for table in plan.tables if table.qualified_name in chosen]


def _select_table(plan: Plan, name: str) -> TablePlan:
    table = plan.table(name)
    if table is not None:
        return table
    same_name = [t.qualified_name for t in plan.tables if t.table_name == name]
    if same_name:
        raise UnknownTable(f"table {name!r} is in several schemas: name one of {', '.join(same_name)}")
    if name in plan.excluded:
        raise UnknownTable(f"table {name!r} is excluded by the configuration")
    known = [t.qualified_name for t in plan.tables] + [t.table_name for t in plan.tables]
    raise UnknownTable(
        f"no managed table {name!r}{_nearest(name, known)}; `tenant-migration plan` lists them"
    )


def select_tenants(
    connection: psycopg.Connection, config: MigrationConfig, tenants: Sequence[str] | None
) -> list[str] | None:
    """Return the tenants asked for without duplicates; None: all that have a mapping.

    Raises:
        UnknownTenant: one without a mapping.
    """
    if tenants is None:
        return None
    asked = list(dict.fromkeys(tenants))
    mapped = set(mapped_tenants(connection, config.interface_schema))
    for tenant in asked:
        if tenant not in mapped:
            raise UnknownTenant(
                f"tenant {tenant!r} has no mapping{_nearest(tenant, mapped)}; "
                "`tenant-migration mappings --list` shows those that have one"
            )
    return asked


def add_parents(plan: Plan, tables: Iterable[TablePlan]) -> list[TablePlan]:
    """Return the tables and all their parents, in the plan's order."""
    needed = {table.qualified_name for table in tables}
    for table in reversed(plan.tables):  # parents come before children in the plan
        if table.qualified_name in needed:
            needed.update(table.depends_on)
    return [table for table in plan.tables if table.qualified_name in needed]


def refuse_table_hazards(tables: Iterable[TablePlan]) -> None:
    """Raise Refused with every hazard that keeps one of the tables from starting, and its way out."""
    lines = [
        f"  {table.qualified_name}: {hazard.detail}; {hazard.way_out}"
        for table in tables
        for hazard in table.refusals
    ]
    if lines:
        raise Refused(
            "the plan refuses:\n"
            + "\n".join(lines)
            + "\nonce it is decided or mended, store a new plan: `tenant-migration plan --write`"
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def shortened(names: Sequence[str]) -> str:
    """Return the names for a message: the first few and how many more."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
