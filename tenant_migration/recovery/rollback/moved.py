"""One step over a table without a key, second pass: rows that the application changed since we wrote them.

They are somewhere else now, and nothing names them. But where nobody else ever wrote an organization in this
table (no claim on it, and the claim trigger was there before our first batch), every row that carries it was
written by us. So as many rows with our value are reset as there are entries; when there are fewer, the rest
is gone, or the application took the value away.

1. Entries of which that is not known stay open, in a batch of their own, listed as failed: the organization
   is claimed, another tenant that is not rolled back has it too, the row had another value before, or there
   is no claim trigger.
2. As many rows of each organization as there are entries are chosen, and reset under their lock.
3. In a newer snapshot, claims are looked for: one that came meanwhile rolls the step back.
4. Entries for which no row was found are recorded, and all are closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.claims import triggers_work
from tenant_migration.backfill.leaves import read_leaves
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.rollback import gate, keyless_sql, steps_sql
from tenant_migration.recovery.rollback.failed import list_failed
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.steps import ClaimedError, NotResetError, StepOutcome, one
from tenant_migration.recovery.rollback.work import Work

_GONE = "no row carries our value any more: it is gone, or the application took the value away"
_UNTELLABLE = "the application changed the row since, and without a key it cannot be told from others: {}"
_PARTITIONS = " (or moved a row with it to another partition)"
_CHOICES_MOST = 20
"""Times that rows are chosen anew because the application moved them meanwhile."""


class MovedStep:
    """Takes batches back whose rows are no longer where they were written."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._entries = gate.entries_of(work)

    def __call__(self, batches: Sequence[Batch], *, locks_first: bool) -> StepOutcome:
        """Do the batches in one transaction; or only set apart what cannot be told apart."""
        work = self._work
        connection = work.session.connection
        numbers = [batch.batch_id for batch in batches]
        parameters = gate.parameters_of(work, numbers)
        work.keep_alive.renew_when_due(connection)
        started = work.clock.monotonic()
        # No limit for the statement that chooses rows: without an index it scans the table. A stop ends it.
        with transaction(
            connection, lock_timeout_ms=work.table.settings.lock_timeout_ms, statement_timeout_ms=0
        ):
            gate.enter(connection, work, numbers)
            connection.execute(keyless_sql.planner_back(), parameters)
            apart = self._set_apart(connection, parameters, batches)
            found = 0
            if apart is None:
                found = self._take_back(connection, parameters)
            failpoints.reach(failpoints.ROLLBACK_BEFORE_COMMIT)
        failpoints.reach(failpoints.ROLLBACK_AFTER_COMMIT)
        elapsed_ms = (work.clock.monotonic() - started) * 1000
        if apart is not None:
            return StepOutcome(0, elapsed_ms, True, False, failed=apart[0], moved=apart[1])
        work.tally.batches += 1
        work.report(batch_rows=found, batch_ms=elapsed_ms)
        return StepOutcome(found, elapsed_ms, False, False)

    def _set_apart(
        self, connection: psycopg.Connection, parameters: dict[str, object], batches: Sequence[Batch]
    ) -> tuple[tuple[int, ...], tuple[Batch, ...]] | None:
        """Move entries that cannot be told apart to batches of their own; None: there are none.

        Returns:
            Their batches, and those that are still to be done.
        """
        work = self._work
        judged = connection.execute(
            keyless_sql.untellable(self._entries, has_claims=work.has_claims),
            {**parameters, "triggers_work": triggers_work(connection, work.table, work.table_id)},
        ).fetchall()
        if not any(ctids for _, _, ctids, _ in judged):
            return None
        failed, rest = [], []
        by_number = {batch.batch_id: batch for batch in batches}
        for batch_id, count, ctids, reasons in judged:
            batch = by_number[batch_id]
            if not ctids:
                rest.append(Batch(batch_id, batch.written_in, count))
                continue
            number = batch_id
            if len(ctids) < count:
                statement = keyless_sql.extract(self._entries, but=False)
                number = one(
                    connection.execute(statement, {**parameters, "batch_id": batch_id, "row_ctids": ctids})
                )[0]
                rest.append(Batch(batch_id, batch.written_in, count - len(ctids)))
            list_failed(connection, work, number, _UNTELLABLE.format(self._why(reasons)))
            failed.append(number)
        return tuple(failed), tuple(rest)

    def _why(self, reasons: Sequence[str]) -> str:
        """Return the reasons. A row that changes its partition is inserted there: that looks like a claim."""
        partitioned = self._work.table.partitioned
        more = _PARTITIONS if partitioned and any("somebody else" in reason for reason in reasons) else ""
        return "; ".join(sorted(reasons)) + more

    def _take_back(self, connection: psycopg.Connection, parameters: dict[str, object]) -> int:
        """Reset rows, record what is gone, close the entries; return how many there were."""
        done = self._reset(connection, parameters)
        failpoints.reach(failpoints.ROLLBACK_ROWS_RESET)
        claimed = {"organizations": list(done)}
        if done and one(connection.execute(keyless_sql.any_claimed(self._entries), claimed))[0]:
            raise ClaimedError
        statement = keyless_sql.list_gone(self._entries)
        found, gone = one(connection.execute(statement, {**parameters, **_listed(done), "message": _GONE}))
        restored = sum(done.values())
        if restored + gone != found:
            raise OperationFailed(
                f"{self._work.name}: {found:,} entries of the journal, but {restored:,} restored and"
                f" {gone:,} gone; nothing of this step was written"
            )
        counts = {"restored": restored, "changed": 0, "deleted": gone, "steps": 1}
        closed = one(connection.execute(steps_sql.close(self._entries), {**parameters, **counts}))
        self._work.tally.rows_closed = closed[0]
        return int(found)

    def _reset(self, connection: psycopg.Connection, parameters: dict[str, object]) -> Counter[UUID]:
        """Reset as many rows of each organization as there are entries and rows; return how many of each."""
        leaves = {leaf.oid: leaf.name for leaf in read_leaves(connection, self._work.table)}
        done: Counter[UUID] = Counter()
        for _ in range(_CHOICES_MOST):
            chosen = connection.execute(
                keyless_sql.choose(self._entries), {**parameters, **_listed(done)}
            ).fetchall()
            if not chosen:
                return done
            for leaf, ctids, written in chosen:
                statement = keyless_sql.reset_moved(self._entries, leaves[leaf])
                rows = connection.execute(
                    statement, {**parameters, "row_ctids": ctids, "written": written}
                ).fetchall()
                if not all(as_asked for _, _, as_asked in rows):
                    raise NotResetError("a trigger of the table wrote another organization than asked for")
                done.update({organization: count for organization, count, _ in rows})
                connection.execute(keyless_sql.planner_back(), parameters)
        raise NotResetError(
            f"the row moved {_CHOICES_MOST} times while it was chosen, or a trigger keeps it as it is"
        )


def _listed(done: Counter[UUID]) -> dict[str, object]:
    return {"done": list(done.keys()), "rows": list(done.values())}
