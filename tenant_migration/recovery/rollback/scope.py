"""What there is to take back: the batches of the journal with open entries in scope, and their numbers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill.journal_sql import KEPT, journal_name, rows_by_tenant, written_in
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback.entries_sql import own_entries
from tenant_migration.recovery.rollback.work import Work


@dataclass(frozen=True)
class Batch:
    """A row of the journal."""

    batch_id: int
    written_in: int
    """Number of the batch as it was written; another one than `batch_id` where that was divided since."""
    rows: int
    """Open entries in scope, when it was listed."""


_ALL = """
SELECT j.batch_id, {written_in}, j.row_count - j.closed_rows
FROM {journal} AS j WHERE j.closed_at IS NULL AND j.phase {phase} {kept}
ORDER BY 2 DESC, 1 DESC"""

_OF_SOME = """
SELECT j.batch_id, {written_in}, sum(e.entries)
FROM {journal} AS j CROSS JOIN LATERAL ({own_entries}) AS e
WHERE j.tenant_numbers && %(tenant_numbers)s::int4[] AND j.closed_at IS NULL AND j.phase {phase} {kept}
GROUP BY j.batch_id
ORDER BY 2 DESC, 1 DESC"""

_COUNT_OF_SOME = """
SELECT e.tenant_number, sum(e.entries)
FROM {journal} AS j CROSS JOIN LATERAL ({own_entries}) AS e
WHERE j.tenant_numbers && %(tenant_numbers)s::int4[] AND j.closed_at IS NULL AND j.phase <> {kept}
GROUP BY e.tenant_number"""


def list_batches(work: Work, *, kept: bool = False) -> list[Batch]:
    """Return the batches with open entries in scope, the newest first.

    Args:
        work: the table's rollback.
        kept: those that recorded values and wrote nothing, instead of those that wrote.
    """
    numbers = work.tenant_numbers
    statement = sql.SQL(_ALL if numbers is None else _OF_SOME).format(
        written_in=written_in(),
        journal=journal_name(work.table_id),
        phase=sql.SQL("=" if kept else "<>"),
        kept=sql.Literal(KEPT),
        own_entries=own_entries("j", len(numbers or ())),
    )
    return [
        Batch(int(batch_id), int(written), int(count)) for batch_id, written, count in _read(work, statement)
    ]


def count_open(work: Work, *, after_stop: bool = False) -> dict[int, int]:
    """Return tenant number -> open entries that wrote a row, of the tenants in scope that have any.

    Args:
        work: the table's rollback.
        after_stop: the run ended: a stop that was asked for is no reason not to count.
    """
    numbers = work.tenant_numbers
    if numbers is None:
        statement = rows_by_tenant(work.table_id, by_index=False)
    else:
        statement = sql.SQL(_COUNT_OF_SOME).format(
            journal=journal_name(work.table_id),
            own_entries=own_entries("j", len(numbers)),
            kept=sql.Literal(KEPT),
        )
    return {int(row[0]): int(row[1]) for row in _read(work, statement, after_stop=after_stop)}


def _read(work: Work, statement: sql.Composed, *, after_stop: bool = False) -> list[tuple[int, ...]]:
    def read(connection: psycopg.Connection) -> list[tuple[int, ...]]:
        watched = nullcontext() if after_stop else work.keep_alive.long_statement("a count in the journal")
        with watched, transaction(connection, statement_timeout_ms=0, read_only=True):
            return connection.execute(
                statement, {"run_id": work.run.run_id, "tenant_numbers": work.tenant_numbers}
            ).fetchall()

    return work.retry.run(f"counting the journal of {work.name}", read)
