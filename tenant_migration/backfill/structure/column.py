"""Adds the organization column where it is missing."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.ddl import Ddl
from tenant_migration.planning.model import TablePlan


def column_exists(connection: psycopg.Connection, table: TablePlan) -> bool:
    """Say whether the table has the organization column at this moment."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
        " AND a.attname = %s AND a.attnum > 0 AND NOT a.attisdropped)",
        (table.schema_name, table.table_name, table.organization_column),
    ).fetchone()
    return bool(row and row[0])


def add_column_statement(table: TablePlan) -> sql.Composed:
    """Build the statement: nullable and without a default, so that no row is rewritten."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN {} uuid").format(
        sql.Identifier(table.schema_name, table.table_name), sql.Identifier(table.organization_column)
    )


def ensure_column(ddl: Ddl, table: TablePlan, *, table_id: int, run_id: int) -> str | None:
    """Add the column when it is missing; return what was created, as a sentence."""
    if column_exists(ddl.connection, table):
        return None
    statement = add_column_statement(table)
    created = created_objects.Object(
        "column",
        table.schema_name,
        table.organization_column,
        table.name,
        statement.as_string(ddl.connection),
    )
    object_id = created_objects.register(ddl.connection, created, table_id=table_id, run_id=run_id)
    failpoints.reach(failpoints.COLUMN_REGISTERED)

    def add(connection: psycopg.Connection) -> None:
        if not column_exists(connection, table):  # a lost connection does not say whether it was committed
            connection.execute(statement)
        created_objects.mark_created(connection, object_id)

    ddl.run(str(created), add)
    failpoints.reach(failpoints.COLUMN_ADDED)
    return str(created)
