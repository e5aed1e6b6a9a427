"""One step over a table with a key: some batches of the journal, the newest first, in one transaction.

1. `gate`: the lease is locked against a takeover, the batches against another tenant's rollback, which may
   divide them; a stop that was asked for is heeded.
2. `reset` brings the previous values back where the organization still is what we wrote. PostgreSQL looks
   again at the newest version of a row under its lock, so a value that the application wrote is never lost.
3. In a further statement, with a newer snapshot, claims are looked for. What the application wrote before we
   locked a row was committed before, its claim with it, so this snapshot has them all. When a row that was
   just reset is claimed (the application wrote the very same value itself, within these milliseconds), the
   transaction is rolled back and the step is done again with the rows locked by a statement of their own
   before they are compared: then the comparison's snapshot is newer than the locks.
4. `judge` runs when an entry was not reset, or any claim is there: it finds out which rows were changed or
   deleted, and records them.
5. `close` closes the entries and raises the counters.

Locking first always would be equally exact and costs one more visit and one more WAL record a row.

A claim that is known when the step begins is left out by `reset` itself. When several batches are taken
together and a key is there twice, nothing is reset: they are taken one by one, since the older entry can only
be compared once the newer one is undone.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.rollback import gate, steps_sql
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.steps import (
    ClaimedError,
    KeyTwiceError,
    NotResetError,
    StepOutcome,
    one,
)
from tenant_migration.recovery.rollback.unchanged_columns import unchanged_columns
from tenant_migration.recovery.rollback.work import Work


class KeyedStep:
    """Takes batches of a table with a key back."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._entries = gate.entries_of(work)
        self._unchanged = work.retry.run(
            f"indexes of {work.name}", lambda connection: unchanged_columns(connection, work.table)
        )
        self._statements: dict[tuple[bool, bool], bytes] = {}

    def __call__(self, batches: Sequence[Batch], *, locks_first: bool) -> StepOutcome:
        """Do the batches in one transaction."""
        work, entries = self._work, self._entries
        connection = work.session.connection
        settings = work.table.settings
        parameters = gate.parameters_of(work, [batch.batch_id for batch in batches])
        work.keep_alive.renew_when_due(connection)
        started = work.clock.monotonic()
        with transaction(
            connection,
            lock_timeout_ms=settings.lock_timeout_ms,
            statement_timeout_ms=settings.statement_timeout_ms,
        ):
            any_claims = gate.enter(connection, work, [batch.batch_id for batch in batches])
            if locks_first:
                connection.execute(steps_sql.lock(entries), parameters)
            reset = self._reset_statement(several=len(batches) > 1, skips_claimed=any_claims or locks_first)
            twice, found, restored, not_as_asked = one(connection.execute(reset, parameters))
            if twice:
                raise KeyTwiceError
            if not_as_asked:
                raise NotResetError(
                    "a trigger of the table wrote another organization than the one asked for"
                )
            failpoints.reach(failpoints.ROLLBACK_ROWS_RESET)
            ours_again = connection.execute(steps_sql.own_settings(entries, has_claims=work.has_claims))
            changed = deleted = 0
            if one(ours_again)[-1] or restored < found:
                changed, deleted = self._judge(
                    connection, parameters, found=found, restored=restored, locks_first=locks_first
                )
            if restored + changed + deleted != found:
                if found > 1:
                    raise NotResetError("a trigger of the table writes other rows of it too")
                raise OperationFailed(
                    f"{work.name}: {found:,} entries of the journal, but {restored:,} restored,"
                    f" {changed:,} changed and {deleted:,} deleted; nothing of this step was written"
                )
            counts = {"restored": restored, "changed": changed, "deleted": deleted, "steps": 1}
            closed = one(connection.execute(steps_sql.close(entries), {**parameters, **counts}))[0]
            failpoints.reach(failpoints.ROLLBACK_BEFORE_COMMIT)
        failpoints.reach(failpoints.ROLLBACK_AFTER_COMMIT)
        elapsed_ms = (work.clock.monotonic() - started) * 1000
        work.tally.rows_closed = closed
        work.tally.batches += 1
        work.report(batch_rows=found, batch_ms=elapsed_ms)
        return StepOutcome(found, elapsed_ms, False, False)

    def _judge(
        self,
        connection: psycopg.Connection,
        parameters: dict[str, object],
        *,
        found: int,
        restored: int,
        locks_first: bool,
    ) -> tuple[int, int]:
        """Record what was left alone; return how many rows were changed and deleted.

        When all rows were reset, or none, that says it of each. Else it is seen by the transaction that wrote
        the row last, and a trigger that writes other rows of the table spoils that: then in smaller parts.
        """
        every = True if restored == found else False if not restored else None
        statement = steps_sql.judge(self._entries, has_claims=self._work.has_claims)
        changed, deleted, claimed, unexplained = one(
            connection.execute(statement, {**parameters, "every_row_reset": every})
        )
        if claimed and locks_first:
            raise NotResetError("a trigger of the table writes a row that the application has claimed")
        if claimed:
            raise ClaimedError
        if unexplained:
            raise NotResetError("a trigger of the table kept the row from being written")
        return changed, deleted

    def _reset_statement(self, *, several: bool, skips_claimed: bool) -> bytes:
        """Return the statement; composed once for each form, since a step is short."""
        form = (several, skips_claimed)
        if form not in self._statements:
            self._statements[form] = steps_sql.reset(
                self._entries, several=several, skips_claimed=skips_claimed, unchanged=self._unchanged
            ).as_bytes(self._work.session.connection)
        return self._statements[form]
