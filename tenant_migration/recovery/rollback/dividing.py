"""Divides a batch of the journal that is too large for one step, in a transaction of its own.

So every reader stays right at every moment: the parts together name the same rows, and `part_of` keeps the
number under which they were written.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.journal_sql import is_open, journal_name, key_columns, written_in
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback import gate
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.work import Work

_ARRAYS = ("tenant_numbers", "previous_values", "fingerprints")

_DIVIDE = """
WITH whole AS MATERIALIZED (SELECT * FROM {journal} WHERE batch_id = %(batch_id)s AND closed_at IS NULL),
own AS (
    SELECT e.position, row_number() OVER (ORDER BY e.position) - 1 AS before
    FROM whole AS j CROSS JOIN LATERAL unnest(j.tenant_numbers) WITH ORDINALITY AS e (tenant_number, position)
    WHERE {open}{in_scope}),
part AS MATERIALIZED (
    SELECT first, lead(first) OVER (ORDER BY first) - 1 AS last
    FROM (SELECT 1 AS first
          UNION ALL
          SELECT position::int4 FROM own WHERE before > 0 AND before %% %(rows_each)s = 0) AS starts),
sliced AS MATERIALIZED (
    SELECT part.first, coalesce(part.last, j.row_count) - part.first + 1 AS row_count,
           (SELECT count(*) FROM unnest(j.tenant_numbers[part.first:part.last]) AS n
            WHERE n = ANY (j.closed_tenants)) AS closed_rows, {slices}
    FROM whole AS j CROSS JOIN part),
kept AS (
    UPDATE {journal} AS j SET row_count = s.row_count, closed_rows = s.closed_rows, {assignments}
    FROM sliced AS s WHERE j.batch_id = %(batch_id)s AND s.first = 1)
INSERT INTO {journal} (run_id, leaf, phase, page_from, page_to, wave, xid, committed_at, closed_tenants,
                       part_of, row_count, closed_rows, {arrays})
SELECT j.run_id, j.leaf, j.phase, j.page_from, j.page_to, j.wave, j.xid, j.committed_at, j.closed_tenants,
       {written_in}, s.row_count, s.closed_rows, {of_slice}
FROM whole AS j CROSS JOIN sliced AS s WHERE s.first > 1 ORDER BY s.first
RETURNING batch_id"""


def divide(work: Work, batch: Batch, rows_each: int) -> list[Batch]:
    """Divide a batch so that each part has at most `rows_each` open entries in scope; return the parts."""
    statement = _statement(work)

    def execute(connection: psycopg.Connection) -> list[Batch]:
        work.keep_alive.renew_when_due(connection)
        with transaction(
            connection,
            lock_timeout_ms=work.table.settings.lock_timeout_ms,
            statement_timeout_ms=work.table.settings.statement_timeout_ms,
        ):
            gate.enter(connection, work, [batch.batch_id], even_truncated=True)
            rows = connection.execute(
                statement,
                {
                    "batch_id": batch.batch_id,
                    "rows_each": rows_each,
                    "tenant_numbers": work.tenant_numbers,
                },
            ).fetchall()
        numbers = [batch.batch_id, *(int(row[0]) for row in rows)]
        left = batch.rows - rows_each * (len(numbers) - 1)
        sizes = [rows_each] * (len(numbers) - 1) + [left]
        return [Batch(number, batch.written_in, size) for number, size in zip(numbers, sizes, strict=True)]

    parts = work.retry.run(f"dividing a batch of the journal of {work.name}", execute)
    failpoints.reach(failpoints.ROLLBACK_BATCH_DIVIDED)
    return parts


def _statement(work: Work) -> sql.Composed:
    names = [*_ARRAYS, *(column.name for column in key_columns(work.table))]
    columns = [sql.Identifier(name) for name in names]

    def each(template: sql.SQL) -> sql.Composed:
        return sql.SQL(", ").join(template.format(column=column) for column in columns)

    return sql.SQL(_DIVIDE).format(
        journal=journal_name(work.table_id),
        open=is_open(sql.SQL("e.tenant_number")),
        in_scope=sql.SQL(
            "" if work.tenant_numbers is None else " AND e.tenant_number = ANY (%(tenant_numbers)s::int4[])"
        ),
        slices=each(sql.SQL("j.{column}[part.first:coalesce(part.last, j.row_count)] AS {column}")),
        assignments=each(sql.SQL("{column} = s.{column}")),
        arrays=each(sql.SQL("{column}")),
        of_slice=each(sql.SQL("s.{column}")),
        written_in=written_in(),
    )
