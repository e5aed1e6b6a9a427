"""Removes what no rollback can need any more: batches that are undone, and old lists of rows left alone."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.database.connection import transaction

_BATCHES_AT_ONCE = 500
"""Some 10 MB of rows in each transaction."""

# A table that somebody works on at this moment waits for the next cleanup.
_JOURNALS = """
SELECT substr(c.relname, 9)::int4 FROM pg_class AS c
WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relkind = 'r'
  AND EXISTS (SELECT FROM tenant_migration.created_objects AS o
              WHERE o.kind = 'journal' AND o.object_name = c.relname AND o.dropped_at IS NULL
                AND c.relname = 'journal_' || o.table_id)
  AND NOT EXISTS (SELECT FROM tenant_migration.leases AS l
                  WHERE c.relname = 'journal_' || l.table_id AND l.expires_at > clock_timestamp())
ORDER BY 1"""

_OLD = "closed_at < clock_timestamp() - make_interval(days => %s)"

_LEFT_ALONE = """
DELETE FROM tenant_migration.left_alone AS a USING tenant_migration.runs AS r
WHERE r.run_id = a.run_id AND r.finished_at IS NOT NULL
  AND a.recorded_at < clock_timestamp() - make_interval(days => %s)"""


def prune_journals(connection: psycopg.Connection, *, days: int, dry_run: bool) -> int:
    """Remove batches that were undone more than `days` days ago; return how many there are."""
    with transaction(connection, read_only=True, row_security=True):
        table_ids = [row[0] for row in connection.execute(_JOURNALS).fetchall()]
    return sum(_prune(connection, table_id, days=days, dry_run=dry_run) for table_id in table_ids)


def prune_left_alone(connection: psycopg.Connection, *, days: int) -> None:
    """Remove what rollbacks that ended listed as left alone more than `days` days ago."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(_LEFT_ALONE, (days,))


def _prune(connection: psycopg.Connection, table_id: int, *, days: int, dry_run: bool) -> int:
    journal = journal_name(table_id)
    if dry_run:
        with transaction(connection, read_only=True):
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE {}").format(journal, sql.SQL(_OLD)), (days,)
            ).fetchone()
        return int(row[0]) if row is not None else 0
    statement = sql.SQL(
        "DELETE FROM {journal} WHERE batch_id IN (SELECT batch_id FROM {journal} WHERE {old} LIMIT {most})"
    ).format(journal=journal, old=sql.SQL(_OLD), most=sql.Literal(_BATCHES_AT_ONCE))
    pruned = 0
    while True:
        with transaction(connection):
            count = connection.execute(statement, (days,)).rowcount
        pruned += count
        if count < _BATCHES_AT_ONCE:
            return pruned
