"""Fingerprints: a hash of each row as it was before we wrote it, beside its key in the journal.

Taken of the old row under its lock, so that a trigger which changes another column in our own UPDATE shows.
The value that we replaced is hashed with it: nobody changes what a rollback would bring back unnoticed.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.target import Target
from tenant_migration.backfill.work import Work
from tenant_migration.catalog.row_hash import FORMULA, HashPart, read_hash_parts, row_hash
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.errors import PlanOutdated
from tenant_migration.planning.model import TablePlan

_NOTE = """
UPDATE tenant_migration.table_runs
SET fingerprint_columns = %s::name[], fingerprint_formula = %s, overwrites = %s
WHERE run_id = %s AND table_id = %s"""


def hashed_columns(connection: psycopg.Connection, table: TablePlan) -> tuple[HashPart, ...]:
    """Return the columns that the migration must not change, and how each is hashed.

    Raises:
        PlanOutdated: one of them is not there any more.
    """
    names = [column.name for column in table.preserved_columns]
    parts = read_hash_parts(connection, table.schema_name, table.table_name, names)
    if parts is None:
        raise PlanOutdated(
            f"{table.qualified_name}: a column of its plan is no longer there; write a new plan "
            "(`plan --write`)"
        )
    return parts


def prepare_fingerprints(work: Work) -> None:
    """Decide how this run takes fingerprints, if it does, and note it for those who compare them later."""
    if work.table.settings.fingerprints == "journal":
        work.hashed_columns = hashed_columns(work.session.connection, work.table)
    columns = [part.column for part in work.hashed_columns] or None
    overwrites = work.table.settings.on_existing_value == "overwrite"

    def note(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute(
                _NOTE, (columns, FORMULA if columns else None, overwrites, work.run.run_id, work.table_id)
            )

    work.retry.run(f"how {work.table.qualified_name} is written", note)


def fingerprint(target: Target, row: str) -> sql.Composed:
    """Build the fingerprint of a row `t`, or of `old` where PostgreSQL gives it.

    Args:
        target: the leaf.
        row: `t` before it is written, or `old`.
    """
    previous: sql.Composable = sql.SQL("NULL::pg_catalog.uuid")
    if target.overwrites:
        previous = sql.SQL(row + ".{}").format(identifier(target.table.organization_column))
    return row_hash(target.hashed_columns, row, identifier, previous_value=previous)
