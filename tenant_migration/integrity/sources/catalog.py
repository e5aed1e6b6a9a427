"""How the checks of structure find a table in PostgreSQL's catalog."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source
from tenant_migration.integrity.scope import TableScope
from tenant_migration.planning.model import TablePlan


def table_and_partitions(table: TablePlan) -> sql.Composed:
    """Return a SELECT of (oid): the table and all its partitions; an error when the table is gone."""
    name = sql.Identifier(table.schema_name, table.table_name).as_string(None)
    return sql.SQL(
        "SELECT {table}::regclass::oid AS oid "
        "UNION SELECT p.relid::oid FROM pg_partition_tree({table}::regclass) AS p"
    ).format(table=sql.Literal(name))


def _members(scope: TableScope) -> sql.Composed:
    return sql.SQL("members AS MATERIALIZED ({})").format(table_and_partitions(scope.table))


MEMBERS = Source("members", _members)
"""The table and its partitions, once for all checks of structure: one statement a table, not one a check."""

OF_MEMBERS = sql.SQL("SELECT members.oid FROM members").format()
"""As `table_and_partitions`, where `MEMBERS` is in sight."""
