"""Executes batches: one transaction each, and what happens when one fails.

Retry, split, quarantine or stop follows from `errors.reaction_to`; a failed transaction left nothing
behind, so the same rows are simply tried again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints, quarantine
from tenant_migration.backfill.batch_sql import (
    PLANNER_SETTINGS,
    batch_statement,
    list_statement,
    place_parameters,
)
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.retry import message_of
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_stop_flags
from tenant_migration.backfill.units import NextRows, PageRange, RowList, Unit, halves
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed, Reaction, reaction_to

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_LOCKED_ATTEMPTS_BEFORE_SPLIT = 3
"""Lock timeouts of the same batch before it is halved: the rows that are not locked go on."""
_LOCKED_ROWS_MOST = 20
"""Rows of one pass that may be left to the sweep because they stayed locked; more are no accident."""
_TIMED_OUT_SHARE = 0.9
"""A statement cancelled before this share of its timeout was cancelled by somebody, not by the timeout."""


@dataclass(frozen=True)
class CursorStep:
    """Where the leaf's cursor stands once the batch is committed."""

    next_page: int
    window_end_page: int | None
    wave: int
    finished: bool


@dataclass(frozen=True)
class BatchOutcome:
    """A unit that was done, perhaps in parts."""

    row_count: int
    elapsed_ms: float
    """Of its longest part."""
    waited: bool
    """It was tried again or split: its time says nothing about its size."""
    too_much: bool
    """The server said it was too much at once."""
    filenode: int
    """The leaf's file when it was done; another one than before: the table was rewritten."""


class Batches:
    """Executes the units of one leaf."""

    def __init__(self, work: Work, leaf: Leaf, phase: str, state: State) -> None:
        self._work = work
        self._leaf = leaf
        self._phase = phase
        self._state = state
        self._locked_rows_left = 0
        self._statements: dict[tuple[type, bool, bool, bool], bytes] = {}

    def run(self, unit: Unit, step: CursorStep | None = None) -> BatchOutcome:
        """Do one unit: retry, halve, set rows aside, until it is done.

        Args:
            unit: the rows.
            step: how the cursor moves, in the same transaction as the unit's last rows.

        Returns:
            What was done. Rows that stayed locked are left for the sweep.

        Raises:
            LeaseLost, RunStopped: nothing of this unit's last transaction was written.
            OperationFailed: attempts are spent, or too many rows are in quarantine.
            psycopg.Error: an error that no other attempt could change.
        """
        attempts: Counter[Reaction] = Counter()
        while True:
            started = self._work.clock.monotonic()
            try:
                outcome = self._execute(unit, step)
            except psycopg.Error as error:
                elapsed_s = self._work.clock.monotonic() - started
                reaction = self._reaction(error, elapsed_s)
                attempts[reaction] += 1
                if reaction is Reaction.STOP:
                    raise
                if reaction is Reaction.RETRY and not self._give_up_waiting(error, unit, attempts[reaction]):
                    self._wait(attempts[reaction], error)
                    continue
                return self._in_parts(unit, step, error, reaction)
            if not attempts:
                return outcome
            return BatchOutcome(
                outcome.row_count, outcome.elapsed_ms, True, outcome.too_much, outcome.filenode
            )

    def _reaction(self, error: psycopg.Error, elapsed_s: float) -> Reaction:
        reaction = reaction_to(error.sqlstate, self._work.session.lost)
        limit_s = self._work.table.settings.statement_timeout_ms / 1000
        if isinstance(error, psycopg.errors.QueryCanceled) and elapsed_s < _TIMED_OUT_SHARE * limit_s:
            return (
                Reaction.RETRY
            )  # somebody cancelled the statement; the gate says whether the run is to stop
        return reaction

    def _give_up_waiting(self, error: psycopg.Error, unit: Unit, attempt: int) -> bool:
        """Say whether to stop repeating the unit as it is: halve it, or leave a locked row to the sweep."""
        most = self._work.table.settings.retry_attempts
        if isinstance(error, psycopg.errors.LockNotAvailable) and self._a_row_is_locked(unit, attempt):
            one_row = isinstance(unit, RowList) and len(unit.ctids) == 1
            return attempt >= (most if one_row else min(most, _LOCKED_ATTEMPTS_BEFORE_SPLIT))
        if attempt >= most:
            raise OperationFailed(
                f"{self._work.table.qualified_name}: gave up after {attempt} attempts of one batch; "
                f"last error {error.sqlstate}: {message_of(error)}. What is done stays; run again"
            ) from error
        return False

    def _a_row_is_locked(self, unit: Unit, attempt: int) -> bool:
        """Say whether it is a row that somebody holds, and not the whole table: then the others can go on."""
        if isinstance(unit, RowList) and not unit.ctids:
            return False
        if attempt < _LOCKED_ATTEMPTS_BEFORE_SPLIT or self._locked_rows_left > _LOCKED_ROWS_MOST:
            return False
        try:
            with transaction(
                self._work.session.connection, lock_timeout_ms=self._work.table.settings.lock_timeout_ms
            ):
                self._work.session.connection.execute(
                    sql.SQL("LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE").format(
                        sql.Identifier(self._leaf.name.schema, self._leaf.name.name)
                    )
                )
        except psycopg.Error:  # the table is locked; whatever else it is, another attempt meets it too
            return False
        return True

    def _wait(self, attempt: int, error: psycopg.Error) -> None:
        work = self._work
        work.report(self._state, reason=f"trying again: {message_of(error)}")
        if work.session.lost:
            work.session.reconnect(work.table.settings.retry_attempts)
        else:
            work.clock.back_off(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)

    def _in_parts(
        self, unit: Unit, step: CursorStep | None, error: psycopg.Error, reaction: Reaction
    ) -> BatchOutcome:
        """Do the unit in smaller parts; at one row, set it aside or leave it."""
        parts = halves(unit)
        if parts is None and not isinstance(unit, RowList):
            rows = self._list(unit)
            if not rows.ctids:  # somebody else wrote or removed them meanwhile
                return self.run(RowList(()), step)
            parts = halves(rows) or (rows, RowList(()))
        if parts is None:
            return self._one_row(unit, step, error, reaction)
        first, last = self.run(parts[0]), self.run(parts[1], step)
        return BatchOutcome(
            first.row_count + last.row_count,
            max(first.elapsed_ms, last.elapsed_ms),
            waited=True,
            too_much=reaction is Reaction.SPLIT or first.too_much or last.too_much,
            filenode=last.filenode,
        )

    def _one_row(
        self, unit: Unit, step: CursorStep | None, error: psycopg.Error, reaction: Reaction
    ) -> BatchOutcome:
        if not isinstance(unit, RowList) or not unit.ctids:
            raise error  # it failed with no row in it: not a row's fault
        if reaction is Reaction.RETRY:
            self._locked_rows_left += 1
        else:
            quarantine.set_aside(self._work, self._leaf, unit.ctids[0], error)
        return self.run(RowList(()), step) if step else BatchOutcome(0, 0.0, True, False, self._leaf.filenode)

    def _list(self, unit: PageRange | NextRows) -> RowList:
        """Find out which rows a unit has that cannot be halved by itself."""
        work = self._work
        parameters = {
            **work.map_parameters(),
            **place_parameters(unit),
            "table_id": work.table_id,
            "leaf": self._leaf.oid,
        }
        statement = list_statement(work.target(self._leaf), unit)

        def read(connection: psycopg.Connection) -> RowList:
            with (
                work.keep_alive.long_statement(),
                transaction(connection, statement_timeout_ms=0, read_only=True),
            ):
                return RowList(tuple(row[0] for row in connection.execute(statement, parameters)))

        return work.retry.run(f"rows of {self._leaf.name}", read)

    def _execute(self, unit: Unit, step: CursorStep | None) -> BatchOutcome:
        """Do the unit in one transaction."""
        work = self._work
        connection = work.session.connection
        settings = work.table.settings
        parameters = {
            **work.map_parameters(),
            **place_parameters(unit),
            **work.session_settings,
            "lease_tokens": list(work.lease.tokens),
            "table_id": work.table_id,
            "leaf": self._leaf.oid,
            "phase": self._phase,
        }
        if step is not None:
            parameters.update(
                next_page=step.next_page,
                window_end_page=step.window_end_page,
                next_wave=step.wave,
                finished=step.finished,
            )
        work.keep_alive.renew_when_due(connection)
        started = work.clock.monotonic()
        with transaction(
            connection,
            lock_timeout_ms=settings.lock_timeout_ms,
            statement_timeout_ms=settings.statement_timeout_ms,
        ):
            connection.execute(PLANNER_SETTINGS)
            row = connection.execute(self._statement(unit, step), parameters).fetchone()
            if row is None:
                raise OperationFailed(f"run {work.run.run_id} is no longer in the database; start a new one")
            lease_held, emergency_stop, run_state, table_state, row_count, migrated, hot, filenode = row
            self._refuse_closed_gate(lease_held, emergency_stop, run_state, table_state)
            failpoints.reach(failpoints.BATCH_BEFORE_COMMIT)
        failpoints.reach(failpoints.BATCH_AFTER_COMMIT)
        elapsed_ms = (work.clock.monotonic() - started) * 1000
        work.tally.rows_migrated, work.tally.rows_hot = migrated, hot
        work.tally.batches += 1
        work.report(self._state, batch_rows=row_count, batch_ms=elapsed_ms)
        return BatchOutcome(row_count, elapsed_ms, False, False, filenode or 0)

    def _statement(self, unit: Unit, step: CursorStep | None) -> bytes:
        """Return the unit's statement; composed once for each form of unit, since a batch is short."""
        form = (
            type(unit),
            getattr(unit, "waves", 1) > 1,
            step is not None,
            self._work.tally.rows_quarantined > 0,
        )
        if form not in self._statements:
            self._statements[form] = batch_statement(
                self._work.target(self._leaf), unit, advances_cursor=form[2], skips_quarantined=form[3]
            ).as_bytes(self._work.session.connection)
        return self._statements[form]

    def _refuse_closed_gate(
        self, lease_held: bool, emergency_stop: bool, run_state: str, table_state: str
    ) -> None:
        refuse_stop_flags(  # first: whoever stops a run takes its leases too
            self._work.table.qualified_name, emergency_stop=emergency_stop, states=(run_state, table_state)
        )
        if not lease_held:
            raise self._work.keep_alive.lost()
