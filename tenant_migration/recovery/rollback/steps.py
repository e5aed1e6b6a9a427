"""Runs steps until they are done: one transaction each, retried, halved, at one row left alone.

Retry, split, leave or stop follows from `errors.reaction_to`, as in the backfill; a failed transaction left
nothing behind, so the same entries are simply tried again. What one step does: `keyed`, `keyless`, `moved`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psycopg
from psycopg import sql

from tenant_migration.backfill.retry import message_of
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed, Reaction, reaction_to
from tenant_migration.recovery.rollback.dividing import divide
from tenant_migration.recovery.rollback.failed import set_aside
from tenant_migration.recovery.rollback.gate import TruncatedError
from tenant_migration.recovery.rollback.scope import Batch
from tenant_migration.recovery.rollback.truncated import close_truncated
from tenant_migration.recovery.rollback.work import Work

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_LOCKED_ATTEMPTS_BEFORE_SPLIT = 3
"""Lock timeouts of the same step before it is halved: the rows that are not locked go on."""
_LOCKED_ROWS_MOST = 20
"""Rows that may be left alone because they stayed locked; more are no accident."""
_TIMED_OUT_SHARE = 0.9
"""A statement cancelled before this share of its timeout was cancelled by somebody, not by the timeout."""


@dataclass(frozen=True)
class StepOutcome:
    """A step that was done, perhaps in parts."""

    entries: int
    elapsed_ms: float
    """Of its longest part."""
    waited: bool
    """It was tried again or divided: its time says nothing about its size."""
    too_much: bool
    """The server said that it was too much at once."""
    failed: tuple[int, ...] = ()
    """Batches whose entries stay open: the database refused the reset, or rows cannot be told apart."""
    moved: tuple[Batch, ...] = ()
    """Batches whose rows are no longer where they were written (tables without a key)."""


class ClaimedError(Exception):
    """A row that was just reset is claimed: lock first."""


class KeyTwiceError(Exception):
    """A key is in two of the batches: one by one."""


class NotResetError(Exception):
    """Something of the application, a trigger, kept a row from being reset as asked."""


class Step(Protocol):
    """What takes batches back in one transaction."""

    def __call__(self, batches: Sequence[Batch], *, locks_first: bool) -> StepOutcome:
        """Do it.

        Raises:
            ClaimedError, KeyTwiceError, NotResetError: rolled back; do it as they say.
            psycopg.Error: rolled back.
        """


class Steps:
    """Executes the steps of one table's rollback."""

    def __init__(self, work: Work, step: Step) -> None:
        self._work = work
        self._step = step
        self._locked_rows_left = 0

    def run(self, batches: Sequence[Batch]) -> StepOutcome:
        """Take these batches back: retry, halve, leave single rows, until it is done.

        Raises:
            LeaseLost, RunStopped: nothing of the last transaction was written.
            OperationFailed: attempts are spent, or too many rows stayed locked.
            psycopg.Error: an error that no other attempt could change.
        """
        attempts: Counter[Reaction] = Counter()
        locks_first = False
        while True:
            started = self._work.clock.monotonic()
            try:
                outcome = self._step(batches, locks_first=locks_first)
            except ClaimedError:
                locks_first = True
                continue
            except KeyTwiceError:
                return self._one_byone(batches)
            except TruncatedError as error:
                return self._without_truncated(batches, error.batch_ids)
            except NotResetError as error:
                return self._in_parts(batches, Reaction.QUARANTINE, str(error), None)
            except psycopg.Error as error:
                reaction = self._reaction(error, self._work.clock.monotonic() - started)
                attempts[reaction] += 1
                if reaction is Reaction.STOP:
                    raise
                if reaction is Reaction.RETRY and not self._give_up_waiting(error, attempts[reaction]):
                    self._wait(attempts[reaction], error)
                    continue
                return self._in_parts(batches, reaction, message_of(error), error)
            if not attempts and not locks_first:
                return outcome
            return replace(outcome, waited=True)

    def _one_byone(self, batches: Sequence[Batch]) -> StepOutcome:
        return _sum_up([self.run([batch]) for batch in batches], too_much=False)

    def _without_truncated(self, batches: Sequence[Batch], truncated: frozenset[int]) -> StepOutcome:
        """Close the entries whose rows are gone, and do the step with the others."""
        gone = [batch for batch in batches if batch.batch_id in truncated]
        left = [batch for batch in batches if batch.batch_id not in truncated]
        parts = [Steps(self._work, _ClosingTruncated(self._work)).run(gone)]
        if left:
            parts.append(self.run(left))
        return _sum_up(parts, too_much=False)

    def _in_parts(
        self, batches: Sequence[Batch], reaction: Reaction, message: str, error: psycopg.Error | None
    ) -> StepOutcome:
        """Do the step in two halves; at one row, leave it and say why."""
        too_much = reaction is Reaction.SPLIT
        if len(batches) > 1:
            middle = len(batches) // 2
            return _sum_up([self.run(batches[:middle]), self.run(batches[middle:])], too_much=too_much)
        (batch,) = batches
        if batch.rows > 1:
            parts = divide(self._work, batch, (batch.rows + 1) // 2)
            return _sum_up([self.run([part]) for part in parts], too_much=too_much)
        if reaction is Reaction.RETRY:
            self._locked_rows_left += 1
            if self._locked_rows_left > _LOCKED_ROWS_MOST:
                raise OperationFailed(
                    f"{self._work.name}: more than {_LOCKED_ROWS_MOST} rows stayed locked by others; what is "
                    "done stays. Run again when the table is less busy"
                ) from error
            message = f"another transaction held the row: {message}"
        set_aside(self._work, batch, message)
        return StepOutcome(1, 0.0, True, too_much, (batch.batch_id,))

    def _reaction(self, error: psycopg.Error, elapsed_s: float) -> Reaction:
        reaction = reaction_to(error.sqlstate, self._work.session.lost)
        limit_s = self._work.table.settings.statement_timeout_ms / 1000
        if isinstance(error, psycopg.errors.QueryCanceled) and elapsed_s < _TIMED_OUT_SHARE * limit_s:
            return Reaction.RETRY  # somebody cancelled it; the gate says whether the run is to stop
        return reaction

    def _give_up_waiting(self, error: psycopg.Error, attempt: int) -> bool:
        """Say whether to stop repeating the step as it is: halve it, or leave a locked row."""
        most = self._work.table.settings.retry_attempts
        if isinstance(error, psycopg.errors.LockNotAvailable) and self._a_row_is_locked(attempt):
            return attempt >= min(most, _LOCKED_ATTEMPTS_BEFORE_SPLIT)
        if attempt >= most:
            raise OperationFailed(
                f"{self._work.name}: gave up after {attempt} attempts of one step; last error "
                f"{error.sqlstate}: {message_of(error)}. What is done stays; run again"
            ) from error
        return False

    def _a_row_is_locked(self, attempt: int) -> bool:
        """Say whether it is a row that somebody holds, and not the whole table: then the others can go on."""
        if attempt < _LOCKED_ATTEMPTS_BEFORE_SPLIT:
            return False
        work = self._work
        try:
            with transaction(work.session.connection, lock_timeout_ms=work.table.settings.lock_timeout_ms):
                work.session.connection.execute(
                    sql.SQL("LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE").format(
                        sql.Identifier(work.table.schema_name, work.table.table_name)
                    )
                )
        except psycopg.Error:  # the table is locked; whatever else it is, another attempt meets it too
            return False
        return True

    def _wait(self, attempt: int, error: psycopg.Error) -> None:
        work = self._work
        work.report(reason=f"trying again: {message_of(error)}")
        if work.session.lost:
            work.session.reconnect(work.table.settings.retry_attempts)
        else:
            work.clock.back_off(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)


class _ClosingTruncated:
    """The step over batches whose rows are gone."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, batches: Sequence[Batch], *, locks_first: bool) -> StepOutcome:
        started = self._work.clock.monotonic()
        found = close_truncated(self._work, batches)
        return StepOutcome(found, (self._work.clock.monotonic() - started) * 1000, False, False)


def _sum_up(parts: Sequence[StepOutcome], *, too_much: bool) -> StepOutcome:
    return StepOutcome(
        sum(part.entries for part in parts),
        max(part.elapsed_ms for part in parts),
        waited=True,
        too_much=too_much or any(part.too_much for part in parts),
        failed=tuple(number for part in parts for number in part.failed),
        moved=tuple(batch for part in parts for batch in part.moved),
    )


def one(cursor: psycopg.Cursor) -> tuple[Any, ...]:
    """Return the only row of an aggregate."""
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("an aggregate gave no row")
    return row
