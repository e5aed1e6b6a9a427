"""Closes entries whose rows are gone because the application emptied the table, or their partition.

No row is touched: one that has the same key now came later, so it is listed as changed; the others as
deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback import gate, keyless_sql, steps_sql
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.work import Work

_MESSAGE = "the application emptied the table (TRUNCATE)"


def close_truncated(work: Work, batches: Sequence[Batch]) -> int:
    """Record what became of these entries and close them, in one transaction; return how many there were.

    Raises:
        LeaseLost, RunStopped, psycopg.Error: nothing of it was written.
    """
    connection, settings, entries = work.session.connection, work.table.settings, gate.entries_of(work)
    numbers = [batch.batch_id for batch in batches]
    parameters = gate.parameters_of(work, numbers)
    work.keep_alive.renew_when_due(connection)
    with transaction(
        connection,
        lock_timeout_ms=settings.lock_timeout_ms,
        statement_timeout_ms=settings.statement_timeout_ms,
    ):
        gate.enter(connection, work, numbers, even_truncated=True)
        if work.table.key_columns:
            statement = steps_sql.judge(entries, has_claims=False)
            row = connection.execute(statement, {**parameters, "every_row_reset": False}).fetchone()
            changed, deleted = (0, 0) if row is None else (int(row[0]), int(row[1]))
        else:
            nothing_done: dict[str, object] = {"done": [], "rows": [], "message": _MESSAGE}
            row = connection.execute(
                keyless_sql.list_gone(entries), {**parameters, **nothing_done}
            ).fetchone()
            changed, deleted = 0, 0 if row is None else int(row[1])
        counts = {"restored": 0, "changed": changed, "deleted": deleted, "steps": 1}
        closed = connection.execute(steps_sql.close(entries), {**parameters, **counts}).fetchone()
        failpoints.reach(failpoints.ROLLBACK_BEFORE_COMMIT)
    failpoints.reach(failpoints.ROLLBACK_AFTER_COMMIT)
    if closed is not None:
        work.tally.rows_closed = closed[0]
    work.tally.batches += 1
    work.report(batch_rows=changed + deleted)
    return changed + deleted
