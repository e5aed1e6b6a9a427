"""The emergency stop: everything that migrates stops, everything is taken back, and what is where is told.

Belongs here: the order of the steps and the record of them. A step that fails is reported and the next one is
tried all the same. What Dagster has queued is cancelled by the caller's `stop_dagster`: this layer does not
know Dagster, and an emergency must work without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg

from tenant_migration.backfill.ending import reason_of
from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.connection import usable
from tenant_migration.errors import DatabaseUnavailable, NoPlan, NotInstalled, TenantMigrationError
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import load_plan
from tenant_migration.recovery.invalid_indexes import drop_invalid_indexes
from tenant_migration.recovery.stop_runs import Stopped, stop_runs, working_runs
from tenant_migration.recovery.switch import note_unstopped, set_switch
from tenant_migration.recovery.whereabouts import read_whereabouts
from tenant_migration.workflow.emergency_outcome import EmergencyOutcome, Step
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome

__all__ = ["EmergencyOutcome", "Step", "StepCallback", "StopDagster", "emergency_rollback"]

OPERATION = "emergency stop"
_SWITCH_FIRST_MS = 500
"""How long the first attempt to set the switch waits: runs are stopped after it in any case."""
_SWITCH_AGAIN_MS = 10_000

StopDagster = Callable[[], Sequence[str]]
"""Cancels queued and started runs of Dagster; returns what it did, as sentences."""
StepCallback = Callable[[Step], None]


def emergency_rollback(
    connection: psycopg.Connection,
    config: MigrationConfig,
    *,
    actor: str,
    reason: str | None = None,
    progress: ProgressCallback | None = None,
    on_step: StepCallback | None = None,
    dagster_run_id: str | None = None,
    stop_dagster: StopDagster | None = None,
) -> EmergencyOutcome:
    """Stop everything and take everything back.

    1. The switch is set, in a transaction of its own: no batch and no run starts any more.
    2. Every run is stopped: by its state, then on the server; leases are taken away.
    3. INVALID indexes that cancelled builds of ours left are dropped.
    4. Queued and started runs of Dagster are cancelled; that it could not be asked is noted for `resume`.
    5. Everything is rolled back, children before parents.
    6. What is where is read.

    Args:
        connection: in autocommit mode. When it is lost, each further step opens one of its own.
        config: the settings.
        actor: who presses the button.
        reason: why, for whoever finds the switch set.
        progress: called after each batch of the rollback.
        on_step: called after each of the steps above.
        dagster_run_id: the Dagster run that does it, if one does.
        stop_dagster: does step 4; None: nothing of Dagster is cancelled.

    Returns:
        What was done. Nothing is raised for a step that failed: look at `left` and at the steps.

    Raises:
        NotInstalled: this database never had the tool: nothing to stop and nothing to take back.
    """
    _refuse_without_install(connection)
    emergency = _Emergency(connection, config, actor, reason, progress, on_step, dagster_run_id)
    return emergency.perform(stop_dagster)


def _refuse_without_install(connection: psycopg.Connection) -> None:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = 'tenant_migration' AND c.relname = 'settings')"
    ).fetchone()
    if row is None or not row[0]:
        raise NotInstalled(
            f"tenant_migration is not installed in database {connection.info.dbname}: nothing of it can run "
            "here, so nothing was stopped and there is nothing to take back. Is it the right database?"
        )


class _Emergency:
    def __init__(
        self,
        connection: psycopg.Connection,
        config: MigrationConfig,
        actor: str,
        reason: str | None,
        progress: ProgressCallback | None,
        on_step: StepCallback | None,
        dagster_run_id: str | None,
    ) -> None:
        self._connection = connection
        self._config = config
        self._actor = actor
        self._reason = reason
        self._progress = progress
        self._on_step = on_step
        self._dagster_run_id = dagster_run_id
        self._outcome = EmergencyOutcome()
        self._invalid_left: list[str] = []
        self._unstopped: str | None = None

    def perform(self, stop_dagster: StopDagster | None) -> EmergencyOutcome:
        """Take the steps of `emergency_rollback`."""
        started = time.monotonic()
        outcome = self._outcome
        self._do("switch", self._set_switch)
        self._do("runs", self._stop_runs)
        self._record("started", detail={"reason": self._reason})
        self._do("INVALID indexes", self._drop_invalid_indexes)
        self._do("Dagster", lambda step, connection: self._stop_dagster(step, connection, stop_dagster))
        self._do("rollback", self._roll_back)
        if self._invalid_left:  # what they waited for may have ended meanwhile
            self._do("INVALID indexes, once more", self._drop_invalid_indexes)
        self._look()
        self._record(
            "failed" if outcome.left else "completed",
            counts={"rows_restored": outcome.rows_restored, "left": len(outcome.left)},
            duration_ms=(time.monotonic() - started) * 1000,
            detail={
                "left": outcome.left,
                "steps": {step.name: [step.outcome, *step.lines] for step in outcome.steps},
            },
        )
        return outcome

    def _do(self, name: str, body: Callable[[Step, psycopg.Connection], None]) -> Step:
        """Do one step on a connection that works; what it raises is its line, and the next one is tried."""
        step = Step(name)
        started = time.monotonic()
        try:
            with usable(self._connection) as connection:
                body(step, connection)
        except Exception as error:  # noqa: BLE001 - whatever fails is told, and does not keep the rest from being done
            step.outcome = "failed"
            step.lines.append(reason_of(error))
        step.seconds = time.monotonic() - started
        self._tell(step)
        return step

    def _tell(self, step: Step) -> None:
        self._outcome.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)

    def _set_switch(self, step: Step, connection: psycopg.Connection) -> None:
        try:
            self._outcome.switch = set_switch(
                connection, actor=self._actor, reason=self._reason, lock_timeout_ms=_SWITCH_FIRST_MS
            )
        except psycopg.errors.LockNotAvailable:
            step.lines.append(
                "an open transaction that changes mappings holds the settings: what works now is stopped "
                "first, then the switch is tried again"
            )
        else:
            step.lines.append(f"the emergency switch is set, {self._outcome.switch}; nothing may start")

    def _stop_runs(self, step: Step, connection: psycopg.Connection) -> None:
        self._outcome.stopped = stopped = self._stop_all(connection)
        step.lines += _lines_of(stopped)
        if self._outcome.switch is None:
            self._outcome.switch = set_switch(
                connection, actor=self._actor, reason=self._reason, lock_timeout_ms=_SWITCH_AGAIN_MS
            )
            step.lines.append(f"the emergency switch is set now, {self._outcome.switch}")
            late = self._stop_all(connection)  # runs that started in between
            step.lines += _lines_of(late) if late.runs else []
            stopped.problems += late.problems

    def _stop_all(self, connection: psycopg.Connection) -> Stopped:
        why = f"emergency stop: {self._reason}" if self._reason else "emergency stop"
        return stop_runs(connection, working_runs(connection), actor=self._actor, reason=why)

    def _drop_invalid_indexes(self, step: Step, connection: psycopg.Connection) -> None:
        found = drop_invalid_indexes(connection)
        self._invalid_left = found.left
        step.lines += [f"dropped {index}" for index in found.dropped] + found.left
        if found.left:
            step.outcome = "failed"
        elif not found.dropped:
            step.lines.append("no cancelled build left one")

    def _stop_dagster(
        self, step: Step, connection: psycopg.Connection, stop_dagster: StopDagster | None
    ) -> None:
        if stop_dagster is None:
            step.outcome = "skipped"
            step.lines.append("Dagster was not asked: a run that it has queued is refused by the switch")
            self._note_unstopped(step, connection, "Dagster was not asked to cancel what it has queued")
            return
        try:
            step.lines += stop_dagster() or ["no run of it was queued or started"]
        except Exception as error:
            self._unstopped = (
                f"Dagster could not be asked to cancel the runs that it has queued ({reason_of(error)})"
            )
            raise
        finally:
            self._note_unstopped(step, connection, self._unstopped)

    def _note_unstopped(self, step: Step, connection: psycopg.Connection, what: str | None) -> None:
        """Leave word, beside the switch, of what Dagster may start when it is released."""
        try:
            note_unstopped(connection, what)
        except psycopg.Error as error:
            step.lines.append(f"whoever releases the switch is not told of it: {reason_of(error)}")

    def _roll_back(self, step: Step, connection: psycopg.Connection) -> None:
        try:
            plan = load_plan(connection)
        except NoPlan as error:
            step.outcome = "skipped"
            step.lines.append(f"nothing can have been migrated by a plan: {error}")
            return
        try:
            self._outcome.rollback = self._roll_back_tables(connection, plan, None)
        except (TenantMigrationError, psycopg.Error) as error:
            step.outcome = "failed"
            step.lines.append(f"everything at once: {reason_of(error)}; so each table on its own")
            self._roll_back_one_by_one(plan, step)
        step.lines += [_line_of(outcome) for outcome in self._outcome.rollback]
        if any(outcome.state != "rolled_back" for outcome in self._outcome.rollback):
            step.outcome = "failed"
        if not step.lines:
            step.lines.append("nothing of ours was in any table")

    def _roll_back_one_by_one(self, plan: Plan, step: Step) -> None:
        """Take back table for table, children first: one that cannot must not keep the others."""
        for table in reversed(plan.tables):
            try:
                with usable(self._connection) as connection:
                    self._outcome.rollback += self._roll_back_tables(connection, plan, table.qualified_name)
            except (TenantMigrationError, psycopg.Error) as error:
                step.lines.append(f"{table.qualified_name}: {reason_of(error)}")

    def _roll_back_tables(
        self, connection: psycopg.Connection, plan: Plan, name: str | None
    ) -> list[RollbackOutcome]:
        return rollback(
            connection,
            self._config,
            plan,
            actor=self._actor,
            tables=None if name is None else [name],
            progress=self._progress,
            dagster_run_id=self._dagster_run_id,
            emergency=True,
        )

    def _look(self) -> None:
        """Read what is where; what could not be read counts as left."""
        outcome = self._outcome
        step = self._do("what is where", self._read)
        if step.outcome == "failed":
            outcome.left.append(f"what is left could not be read: {'; '.join(step.lines)}")
        outcome.left += [
            f"{table.table}: {table.state}: {table.reason}"
            for table in outcome.rollback
            if table.state != "rolled_back"
        ]
        if outcome.switch is None:
            outcome.left.append("the emergency switch is not set: migrations may start")
        if outcome.stopped is None:
            outcome.left.append("running migrations could not be stopped")
        else:
            outcome.left += outcome.stopped.problems
        outcome.left += self._invalid_left
        if self._unstopped is not None:
            outcome.left.append(
                f"{self._unstopped}: the switch refuses them; cancel them before `tenant-migration resume`, "
                "or they start then"
            )

    def _read(self, step: Step, connection: psycopg.Connection) -> None:
        outcome = self._outcome
        outcome.tables = read_whereabouts(connection)
        outcome.left += [sentence for table in outcome.tables for sentence in table.left]
        outcome.left += [f"{run} has not ended" for run in working_runs(connection)]
        rows = sum(table.rows_ours for table in outcome.tables)
        step.lines.append(
            f"{counted(rows, 'row')} in {counted(len(outcome.tables), 'table')} with a value of ours"
        )

    def _record(
        self,
        outcome: str,
        *,
        counts: dict[str, int] | None = None,
        duration_ms: float | None = None,
        detail: dict[str, object] | None = None,
    ) -> None:
        """Write into the audit log; an emergency goes on without it."""
        try:
            with usable(self._connection) as connection:
                audit.record(
                    connection,
                    operation=OPERATION,
                    actor=self._actor,
                    outcome=outcome,
                    counts=counts,
                    duration_ms=duration_ms,
                    detail=detail,
                )
        except (psycopg.Error, DatabaseUnavailable) as error:
            step = Step("audit log", "failed", [reason_of(error)])
            self._tell(step)


def _lines_of(stopped: Stopped) -> list[str]:
    if not stopped.runs:
        return ["no run was going"]
    lines = [f"cancelled {run}" for run in stopped.runs]
    lines += [*stopped.cancelled, *stopped.terminated]
    lines += [f"took the lease of {holder}" for holder in stopped.leases_taken]
    return [*lines, *stopped.problems, f"nothing of them was under way after {stopped.seconds:.1f} s"]


def _line_of(outcome: RollbackOutcome) -> str:
    if outcome.reason:
        return f"{outcome.table}: {outcome.state}: {outcome.reason}"
    result = outcome.result
    if result is None:
        return f"{outcome.table}: nothing to take back"
    return (
        f"{outcome.table}: {counted(result.rows_restored, 'row')} restored, {result.rows_changed:,} changed "
        f"by the application since, {result.rows_deleted:,} deleted"
    )
