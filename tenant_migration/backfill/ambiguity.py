"""Tenants whose keys are equal in a column's own type: rows of such a column cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill.dry_run_sql import ambiguous_statement
from tenant_migration.planning.model import Plan, TablePlan

_BYTEWISE = frozenset({"pg_catalog.text", "pg_catalog.varchar"})
"""Here equal keys are equal tenant ids, which are unique in the mapping."""


def ambiguous_keys(
    connection: psycopg.Connection,
    plan: Plan,
    table: TablePlan,
    tenants: Sequence[str] | None,
    *,
    shown: int,
) -> list[list[str]]:
    """Return groups of tenants that are one key in this table: `AB-..` and `ab-..` as uuid.

    Args:
        connection: may be inside a transaction.
        plan: says where the mapping is.
        table: says what type the key has.
        tenants: only groups with one of them; the others of a group need not be selected. None: all groups.
        shown: at most this many groups.
    """
    if table.tenant_column.base_type in _BYTEWISE:
        return []
    rows = connection.execute(
        ambiguous_statement(plan, table),
        {
            "key_type": table.tenant_column.quoted_type,
            "tenants": None if tenants is None else list(tenants),
            "shown": shown,
        },
    ).fetchall()
    return [list(row[0]) for row in rows]
