"""One step over a table without a key, first pass: the rows that nobody touched since we wrote them.

Such a row still is where we put it (`row_ctid` in its leaf) and was written by our transaction (`xmin` is the
batch's): a version that the application wrote since has another `xmin`, so this is exact without any claim.
One batch at a time, since a batch is of one leaf.

The entries whose rows are not found so are moved to a batch of their own; what becomes of them: `moved`.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.leaves import read_leaves
from tenant_migration.catalog.model import TableName
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback import gate, keyless_sql, steps_sql
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.steps import NotResetError, StepOutcome, one
from tenant_migration.recovery.rollback.work import Work


class KeylessStep:
    """Takes one batch of a table without a key back, as far as its rows are untouched."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._entries = gate.entries_of(work)
        leaves = work.retry.run(f"leaves of {work.name}", lambda c: read_leaves(c, work.table))
        self._leaves: dict[int, TableName] = {leaf.oid: leaf.name for leaf in leaves}

    def __call__(self, batches: Sequence[Batch], *, locks_first: bool) -> StepOutcome:
        """Do the batch in one transaction. Its comparison needs no lock taken first."""
        (batch,) = batches
        work = self._work
        connection = work.session.connection
        settings = work.table.settings
        parameters = {**gate.parameters_of(work, [batch.batch_id]), "batch_id": batch.batch_id}
        work.keep_alive.renew_when_due(connection)
        started = work.clock.monotonic()
        with transaction(
            connection,
            lock_timeout_ms=settings.lock_timeout_ms,
            statement_timeout_ms=settings.statement_timeout_ms,
        ):
            gate.enter(connection, work, [batch.batch_id])
            found, restored = self._reset(connection, parameters)
            moved = self._set_moved_apart(connection, parameters, batch, found, restored)
            if restored or not found:
                counts = {"restored": len(restored), "changed": 0, "deleted": 0, "steps": 1}
                closed = one(connection.execute(steps_sql.close(self._entries), {**parameters, **counts}))
                work.tally.rows_closed = closed[0]
            failpoints.reach(failpoints.ROLLBACK_BEFORE_COMMIT)
        failpoints.reach(failpoints.ROLLBACK_AFTER_COMMIT)
        elapsed_ms = (work.clock.monotonic() - started) * 1000
        work.tally.batches += 1
        work.report(batch_rows=len(restored), batch_ms=elapsed_ms)
        return StepOutcome(found, elapsed_ms, False, False, moved=moved)

    def _reset(self, connection: psycopg.Connection, parameters: dict[str, object]) -> tuple[int, list[str]]:
        """Reset what is untouched; return how many entries there are, and the ctids of those reset."""
        row = connection.execute(keyless_sql.leaf_of(self._entries), parameters).fetchone()
        leaf = self._leaves.get(row[0]) if row else None
        if leaf is None:  # a partition that is gone, or is the table's no more
            count = connection.execute(steps_sql.count_entries(self._entries), parameters)
            return one(count)[0], []
        statement = keyless_sql.reset_untouched(self._entries, leaf)
        found, restored, not_as_asked, ctids = one(connection.execute(statement, parameters))
        if not_as_asked:
            raise NotResetError("a trigger of the table wrote another organization than the one asked for")
        failpoints.reach(failpoints.ROLLBACK_ROWS_RESET)
        connection.execute(steps_sql.own_settings(self._entries, has_claims=False))
        if restored < found:
            skipped = one(connection.execute(keyless_sql.count_untouched(self._entries, leaf), parameters))[0]
            if skipped:
                raise NotResetError("a trigger of the table kept the row from being written")
        return found, ctids

    def _set_moved_apart(
        self,
        connection: psycopg.Connection,
        parameters: dict[str, object],
        batch: Batch,
        found: int,
        restored: list[str],
    ) -> tuple[Batch, ...]:
        left = found - len(restored)
        if not left:
            return ()
        if not restored:
            return (Batch(batch.batch_id, batch.written_in, left),)
        statement = keyless_sql.extract(self._entries, but=True)
        number = one(connection.execute(statement, {**parameters, "row_ctids": restored}))[0]
        return (Batch(number, batch.written_in, left),)
