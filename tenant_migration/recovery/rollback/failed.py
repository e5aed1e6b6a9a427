"""A row whose reset the database refuses: listed with the reason; its entry stays open."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback import gate
from tenant_migration.recovery.rollback.entries_sql import Entries
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.work import Work

_INSERT = """
WITH {entry}
INSERT INTO tenant_migration.left_alone
    (run_id, table_id, batch_id, reason, message, tenant_numbers, row_keys, found_values)
SELECT %(run_id)s, %(table_id)s, e.batch_id, 'failed', %(message)s, array_agg(e.tenant_number),
       array_agg({row_key}), array_agg({found_value})
FROM entry AS e{row} GROUP BY e.batch_id"""


def set_aside(work: Work, batch: Batch, message: str) -> None:
    """List the batch's open entries in scope as failed, in a transaction of its own."""

    def insert(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            list_failed(connection, work, batch.batch_id, message)

    work.retry.run(f"list of rows of {work.name} that could not be reset", insert)
    failpoints.reach(failpoints.ROLLBACK_ROW_FAILED)


def list_failed(connection: psycopg.Connection, work: Work, batch_id: int, message: str) -> None:
    """List a batch's open entries in scope as failed; part of a transaction."""
    entries = gate.entries_of(work)
    statement = sql.SQL(_INSERT).format(
        entry=entries.expression(),
        row_key=entries.row_key(),
        found_value=entries.organization if work.table.key_columns else sql.SQL("e.written"),
        row=_row(entries),
    )
    connection.execute("SELECT set_config('enable_hashjoin', 'off', true)")
    connection.execute(statement, {**gate.parameters_of(work, [batch_id]), "message": message})


def _row(entries: Entries) -> sql.Composable:
    if not entries.table.key_columns:
        return sql.SQL("")
    return sql.SQL(" LEFT JOIN {} AS t ON {}").format(entries.relation, entries.same_row())
