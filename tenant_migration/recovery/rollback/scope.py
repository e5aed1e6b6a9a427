"""What there is to take back: the batches of the journal with open entries in scope, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill.journal_sql import KEPT, is_open, journal_name, rows_by_tenant, written_in
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback.work import Work

_BY_INDEX_MOST_TENANTS = 20


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
SELECT j.batch_id, {written_in}, count(*)
FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers) AS number
WHERE j.tenant_numbers && %(tenant_numbers)s::int4[] AND NOT j.closed_tenants @> %(tenant_numbers)s::int4[]
  AND number = ANY (%(tenant_numbers)s::int4[]) AND {open} AND j.phase {phase} {kept}
GROUP BY j.batch_id
ORDER BY 2 DESC, 1 DESC"""


def list_batches(work: Work, *, kept: bool = False) -> list[Batch]:
    """Return the batches with open entries in scope, the newest first.

    Args:
        work: the table's rollback.
        kept: those that recorded values and wrote nothing, instead of those that wrote.
    """
    statement = sql.SQL(_ALL if work.tenant_numbers is None else _OF_SOME).format(
        written_in=written_in(),
        journal=journal_name(work.table_id),
        phase=sql.SQL("=" if kept else "<>"),
        kept=sql.Literal(KEPT),
        open=is_open(sql.Identifier("number")),
    )
    rows = _read(work, "the journal", statement)
    return [Batch(int(batch_id), int(written), int(count)) for batch_id, written, count in rows]


def count_open(work: Work) -> dict[int, int]:
    """Return tenant number -> open entries that wrote a row, of the tenants in scope that have any."""
    numbers = work.tenant_numbers
    by_index = numbers is not None and len(numbers) <= _BY_INDEX_MOST_TENANTS
    rows = _read(work, "the journal", rows_by_tenant(work.table_id, by_index=by_index))
    counts = {int(number): int(count) for number, count, _ in rows}
    return counts if numbers is None else {n: counts[n] for n in numbers if n in counts}


def _read(work: Work, what: str, statement: sql.Composed) -> list[tuple[int, ...]]:
    def read(connection: psycopg.Connection) -> list[tuple[int, ...]]:
        with (
            work.keep_alive.long_statement(f"a count in {what}"),
            transaction(connection, statement_timeout_ms=0, read_only=True),
        ):
            return connection.execute(
                statement, {"run_id": work.run.run_id, "tenant_numbers": work.tenant_numbers}
            ).fetchall()

    return work.retry.run(f"counting the journal of {work.name}", read)
