"""How the checks of structure find a table in PostgreSQL's catalog."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.planning.model import TablePlan


def table_oid(table: TablePlan) -> sql.Composed:
    """Return a scalar subquery: the table's oid, NULL when it is gone."""
    return sql.SQL(
        "(SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = {schema} AND c.relname = {name})"
    ).format(schema=sql.Literal(table.schema_name), name=sql.Literal(table.table_name))
