"""Which expressions of a row go into its fingerprint: the columns that the migration must not change."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.target import of_row
from tenant_migration.catalog.columns import read_columns
from tenant_migration.errors import PlanOutdated
from tenant_migration.planning.model import TablePlan


def hashed_columns(connection: psycopg.Connection, table: TablePlan) -> tuple[sql.Composable, ...]:
    """Return the preserved columns; those of a type that cannot be hashed (json, xml, point) as text."""
    row = connection.execute(
        "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s",
        (table.schema_name, table.table_name),
    ).fetchone()
    if row is None:
        raise PlanOutdated(
            f"table {table.qualified_name} is no longer there; write a new plan (`plan --write`)"
        )
    hashable = {column.name: column.hashable for column in read_columns(connection, [row[0]])[row[0]]}
    missing = [column.name for column in table.preserved_columns if column.name not in hashable]
    if missing:
        raise PlanOutdated(
            f"{table.qualified_name}: column {missing[0]!r} is no longer there; "
            "write a new plan (`plan --write`)"
        )
    return tuple(
        of_row(column.name) if hashable[column.name] else sql.SQL("{}::text").format(of_row(column.name))
        for column in table.preserved_columns
    )
