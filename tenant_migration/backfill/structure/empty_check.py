"""The CHECK that keeps the organization column empty while it is about to be dropped.

`recovery.drop_created` adds it, so that the column can be dropped in a moment without looking at the rows
under a lock. When that died in between, the CHECK would refuse every row that a migration fills: so a run
takes it away first.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.created_objects import Registered
from tenant_migration.backfill.structure.ddl import Ddl
from tenant_migration.backfill.structure.names import object_name
from tenant_migration.planning.model import TablePlan

_EXISTS = """
SELECT EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
               JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE k.contype = 'c' AND k.conname = %s AND n.nspname = %s AND c.relname = %s)"""


def empty_check_name(table: TablePlan) -> str:
    """Return the constraint's name."""
    return object_name(table.table_name, table.organization_column, "tenant_migration_empty")


def empty_check_exists(connection: psycopg.Connection, table: TablePlan) -> bool:
    """Say whether the constraint is there."""
    row = connection.execute(
        _EXISTS, (empty_check_name(table), table.schema_name, table.table_name)
    ).fetchone()
    return bool(row and row[0])


def add_empty_check_statement(table: TablePlan) -> sql.Composed:
    """Build the statement. NOT VALID: no row is looked at under its lock."""
    return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NULL) NOT VALID").format(
        sql.Identifier(table.schema_name, table.table_name),
        sql.Identifier(empty_check_name(table)),
        sql.Identifier(table.organization_column),
    )


def drop_empty_check(ddl: Ddl, table: TablePlan, *, table_id: int) -> None:
    """Take the constraint away, if it is there and ours."""
    for check in registered_empty_checks(ddl.connection, table, table_id):
        statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
            sql.Identifier(table.schema_name, table.table_name), sql.Identifier(check.name)
        )

        def drop(
            connection: psycopg.Connection, check: Registered = check, statement: sql.Composed = statement
        ) -> None:
            if empty_check_exists(connection, table):
                connection.execute(statement)
            created_objects.mark_dropped(connection, check.object_id)

        ddl.run(str(check), drop)


def registered_empty_checks(
    connection: psycopg.Connection, table: TablePlan, table_id: int
) -> list[Registered]:
    """Return the constraint as it is registered: one or none."""
    name = empty_check_name(table)
    return [
        made
        for made in created_objects.registered(connection, table_id, "constraint")
        if made.name == name and made.on_relation == table.name
    ]
