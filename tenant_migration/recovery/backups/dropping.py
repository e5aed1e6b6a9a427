"""Drops backups: only relations that the manifest names, by the names that we give."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.database.connection import transaction
from tenant_migration.recovery.backups.copy_sql import SCHEMA, own_relation
from tenant_migration.recovery.backups.retention import relied_on

_LOCK_TIMEOUT_MS = 5_000

_LOCK = """
SELECT FROM tenant_migration.backups
WHERE backup_id = %s AND state = 'complete' AND held_by IS NULL FOR UPDATE"""

_DROPPED = """
UPDATE tenant_migration.backups SET state = 'dropped', finished_at = clock_timestamp()
WHERE backup_id = %s"""

_PARTS = """
SELECT table_id, relation::text, backup_column::text FROM tenant_migration.backed_up_tables
WHERE backup_id = %s ORDER BY relation"""

_UNUSED = """
SELECT DISTINCT p.relation::text FROM tenant_migration.backed_up_tables AS p
JOIN pg_class AS c ON c.relnamespace = 'tenant_migration'::regnamespace AND c.relname = p.relation
                  AND c.relkind = 'r'
WHERE p.backup_column IS NOT NULL AND p.relation = 'backup_rows_' || p.table_id || '_' || right(p.relation, 8)
  AND NOT EXISTS (
    SELECT FROM tenant_migration.backed_up_tables AS o JOIN tenant_migration.backups AS b USING (backup_id)
    WHERE o.relation = p.relation AND b.state IN ('creating', 'complete'))
ORDER BY 1"""


def drop_backup(connection: psycopg.Connection, backup_id: int) -> str | None:
    """Drop a backup's rows, in one transaction.

    Returns:
        Why it stays after all, or None.
    """
    try:
        with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=0):
            # Whoever begins to count on it locks it first: the second statement sees him.
            is_free = connection.execute(_LOCK, (backup_id,)).fetchone() is not None
            if not is_free or relied_on(connection, backup_id):
                return "somebody held it, or counts on it, at this moment"
            connection.execute(_DROPPED, (backup_id,))
            for table_id, relation, backup_column in connection.execute(_PARTS, (backup_id,)).fetchall():
                if backup_column is not None:
                    _delete_rows(connection, relation, backup_column, backup_id)
                elif relation == own_relation(backup_id, table_id):
                    connection.execute(_drop(relation))
    except psycopg.errors.LockNotAvailable:
        return "another session is reading it"
    return None


def drop_unused_relations(connection: psycopg.Connection) -> list[str]:
    """Drop relations for rows of tenants that no backup has rows in; return their names."""
    try:
        with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
            # Nobody may register a backup that is to append to one of them until it is gone.
            connection.execute("LOCK TABLE tenant_migration.backed_up_tables IN SHARE ROW EXCLUSIVE MODE")
            unused = [str(row[0]) for row in connection.execute(_UNUSED).fetchall()]
            for relation in unused:
                connection.execute(_drop(relation))
    except psycopg.errors.LockNotAvailable:
        return []  # somebody reads or registers at this moment: the next cleanup finds them again
    return unused


def _drop(relation: str) -> sql.Composed:
    return sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, relation))


def _delete_rows(connection: psycopg.Connection, relation: str, backup_column: str, backup_id: int) -> None:
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL",
        (sql.Identifier(SCHEMA, relation).as_string(connection),),
    ).fetchone()
    if row is not None and row[0]:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE {} = {}").format(
                sql.Identifier(SCHEMA, relation), sql.Identifier(backup_column), sql.Literal(backup_id)
            )
        )
