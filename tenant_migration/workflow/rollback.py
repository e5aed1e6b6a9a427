"""Takes tables back: order, rollback, verification and the record of it, one table at a time in one run.

`rollback` does a whole selection. Dagster takes the same steps one by one: `resolve_rollback`,
`begin_rollback`, `attempt_one_table` for each table (children before parents), `end_rollback`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.ending import reason_of, state_after
from tenant_migration.backfill.results import ProgressCallback, Selection
from tenant_migration.backfill.runs import Run, finished_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt, note_recorded
from tenant_migration.database.connection import usable
from tenant_migration.errors import (
    DatabaseUnavailable,
    JournalIncomplete,
    OperationFailed,
    Refused,
    RunStopped,
    TableStopped,
    TenantMigrationError,
)
from tenant_migration.integrity.model import CheckResult
from tenant_migration.integrity.tenant_verdicts import keep_verdicts
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery.drop_created import drop_column_and_claims, drop_foreign_key_and_index
from tenant_migration.recovery.results import RollbackResult
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration.recovery.verification import Before, look_before, verify_rollback
from tenant_migration.workflow.outcome import describe_blocking
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration.workflow.rollback_scope import RollbackScope, resolve_rollback
from tenant_migration.workflow.selection import shortened
from tenant_migration.workflow.touched_pairs import Pair, read_pairs

__all__ = [
    "RollbackScope",
    "abort_rollback",
    "attempt_one_table",
    "begin_rollback",
    "end_rollback",
    "resolve_rollback",
    "rollback",
    "rollback_one_table",
]

_log = logging.getLogger(__name__)

OPERATION = "rollback"


def begin_rollback(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    scope: RollbackScope,
    *,
    actor: str,
    dagster_run_id: str | None = None,
    emergency: bool = False,
) -> Run:
    """Open a run: its row, and the audit record.

    Raises:
        Refused: the emergency switch is set, and this is no emergency rollback.
    """
    selection = Selection(
        tables=[table.qualified_name for table in scope.tables],
        tenants=None if scope.tenants is None else list(scope.tenants),
    )
    run = start_rollback(
        connection,
        plan,
        selection=selection,
        actor=actor,
        dagster_run_id=dagster_run_id,
        emergency=emergency,
    )
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome="started",
        run_id=run.run_id,
        tenant_id=_only(scope.tenants),
        detail={
            "tables": selection.tables,
            "tenants": selection.tenants,
            "drop_created": scope.drop_created,
            "from_backup": scope.backup_id,
            "emergency": emergency,
        },
    )
    return run


def rollback_one_table(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    table: TablePlan,
    *,
    run: Run,
    scope: RollbackScope,
    verify: bool = True,
    progress: ProgressCallback | None = None,
    emergency: bool = False,
) -> RollbackOutcome:
    """Take one table back for the tenants of the run's scope.

    1. Tenants for which a child is not rolled back are blocked; the others go on.
    2. Tenants of which the journal names fewer rows than were recorded fail, unless a backup is given.
    3. With `drop_created`: foreign key and index that we made are dropped, so that rows are reset in place.
    4. The rollback, in committed steps.
    5. The verification; a tenant that something stands against fails.
    6. With `drop_created`: claim trigger and column are dropped.
    7. States, mapping status and audit record.

    Returns:
        What became of it. What a step committed stays taken back, also when the outcome is `failed`.

    Raises:
        LeaseHeld, OperationFailed, psycopg.Error: the table could not go on at all; recorded first.
        RunStopped: nor may any other table of the run.
    """
    started = time.monotonic()
    work = _TableWork(connection, config, plan, table, run, scope, emergency)
    try:
        outcome = work.perform(verify=verify, progress=progress)
    except BaseException as error:
        with _note_of_failure(f"{table.qualified_name} of run {run.run_id}"):
            work.record(state_after(error).value, started, detail={"error": reason_of(error)})
        raise
    detail: dict[str, object] = {}
    if outcome.reason:
        detail["reason"] = outcome.reason
    if outcome.dropped:
        detail["dropped"] = list(outcome.dropped)
    work.record(outcome.state, started, counts=_counts(outcome.result), detail=detail)
    return outcome


def attempt_one_table(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    table: TablePlan,
    *,
    run: Run,
    scope: RollbackScope,
    verify: bool = True,
    progress: ProgressCallback | None = None,
    emergency: bool = False,
) -> RollbackOutcome:
    """As `rollback_one_table`; but what keeps only this table from going on is its outcome.

    Raises:
        RunStopped: no other table of the run may start.
        DatabaseUnavailable: nor could it.
    """
    try:
        return rollback_one_table(
            connection,
            config,
            plan,
            table,
            run=run,
            scope=scope,
            verify=verify,
            progress=progress,
            emergency=emergency,
        )
    except TableStopped as error:
        return RollbackOutcome(table.qualified_name, "failed", reason_of(error))
    except (RunStopped, DatabaseUnavailable):
        raise
    except (TenantMigrationError, psycopg.Error) as error:
        return RollbackOutcome(table.qualified_name, "failed", reason_of(error))


@dataclass(frozen=True)
class _TableWork:
    """One table of a rollback, with what its steps need."""

    connection: psycopg.Connection
    config: MigrationConfig
    plan: Plan
    table: TablePlan
    run: Run
    scope: RollbackScope
    emergency: bool

    def perform(self, *, verify: bool, progress: ProgressCallback | None) -> RollbackOutcome:
        """Take the steps of `rollback_one_table`."""
        name = self.table.qualified_name
        pairs = [pair for pair in self._pairs([name]) if pair.is_touched]
        waiting = self._block_waiting(pairs)
        free = [pair for pair in pairs if pair.tenant_id not in waiting]
        if pairs and not free:
            return RollbackOutcome(name, "blocked", _describe(waiting), tenant_states=self._states(pairs))
        drops = self.scope.drop_created and not waiting
        dropped: list[str] = []
        if drops:
            with usable(self.connection) as connection:
                dropped += drop_foreign_key_and_index(connection, self.plan, self.table, self.run)
        result: RollbackResult | None = None
        checks: tuple[CheckResult, ...] = ()
        lost: dict[str, int] = {}
        if free:
            whole = self.scope.tenants is None and not waiting
            before = self._look_before(free, whole=whole) if verify else None
            try:
                result = self._roll_back(free, whole=whole, progress=progress)
            except JournalIncomplete as error:
                lost = self._fail_incomplete(free, error)
                free = [pair for pair in free if pair.tenant_id not in lost]
                whole = False
                before = self._look_before(free, whole=whole) if verify and free else None
                result = self._roll_back(free, whole=whole, progress=progress) if free else None
            if result is not None:
                checks = self._verify(free, result, before, whole=whole)
                self._fail_spoilt(free, checks)
        states = self._states(pairs)
        reasons = [
            f"{counted(result.rows_failed, 'row')} could not be reset"
            if result and result.rows_failed
            else "",
            describe_blocking(checks),
            _describe(waiting),
            _describe_lost(lost),
            _not_rolled_back(states, {*waiting, *lost}),
        ]
        if drops and not any(reasons):
            try:
                with usable(self.connection) as connection:
                    dropped += drop_column_and_claims(connection, self.plan, self.table, self.run)
            except (Refused, OperationFailed) as error:
                reasons.append(f"its rows are rolled back, but {error}")
        reason = "; ".join(filter(None, reasons)) or None
        return RollbackOutcome(
            table=name,
            state="failed" if reason else "rolled_back",
            reason=reason,
            result=result,
            checks=checks,
            tenant_states=states,
            dropped=tuple(dropped),
        )

    def record(
        self,
        outcome: str,
        started: float,
        *,
        counts: dict[str, int] | None = None,
        detail: dict[str, object] | None = None,
    ) -> None:
        """Write the table's part of the run into the audit log."""
        with usable(self.connection) as connection:
            audit.record(
                connection,
                operation=f"{OPERATION} table",
                actor=self.run.actor,
                outcome=outcome,
                run_id=self.run.run_id,
                table=self.table.qualified_name,
                tenant_id=_only(self.scope.tenants),
                counts=counts,
                duration_ms=round((time.monotonic() - started) * 1000),
                detail=detail,
            )

    def _pairs(self, tables: Sequence[str]) -> list[Pair]:
        with usable(self.connection) as connection:
            return read_pairs(connection, tables, self.scope.tenants)

    def _states(self, pairs: Sequence[Pair]) -> dict[str, str]:
        found = {pair.tenant_id: pair.state for pair in self._pairs([self.table.qualified_name])}
        return {pair.tenant_id: found.get(pair.tenant_id, State.PENDING.value) for pair in pairs}

    def _block_waiting(self, pairs: Sequence[Pair]) -> dict[str, list[str]]:
        """Block the tenants for which a child is still migrated; return which wait for which children."""
        name = self.table.qualified_name
        children = [child.qualified_name for child in self.plan.tables if name in child.depends_on]
        if not children or not pairs:
            return {}
        here = {pair.tenant_id: pair.tenant_number for pair in pairs}
        waiting: dict[str, list[str]] = {}
        for pair in self._pairs(children):
            if pair.is_written and pair.tenant_id in here:
                waiting.setdefault(pair.tenant_id, []).append(pair.table)
        for group in {tuple(sorted(missing)) for missing in waiting.values()}:
            blocked = [here[tenant] for tenant, missing in waiting.items() if tuple(sorted(missing)) == group]
            self._set_states(blocked, State.BLOCKED, f"children not rolled back: {', '.join(group)}")
        return waiting

    def _fail_incomplete(self, pairs: Sequence[Pair], error: JournalIncomplete) -> dict[str, int]:
        """Fail the tenants of which the journal does not name every row; return tenant -> missing rows."""
        lost = {
            pair.tenant_id: error.rows_missing[pair.tenant_number]
            for pair in pairs
            if pair.tenant_number in error.rows_missing
        }
        self._set_states(sorted(error.rows_missing), State.FAILED, reason_of(error))
        return lost

    def _look_before(self, free: Sequence[Pair], *, whole: bool) -> Before:
        with usable(self.connection) as connection:
            return look_before(
                connection,
                self.table,
                _numbers(free),
                whole_table=whole,
                from_backup=self.scope.backup_id,
            )

    def _roll_back(
        self, free: Sequence[Pair], *, whole: bool, progress: ProgressCallback | None
    ) -> RollbackResult:
        with usable(self.connection) as connection:
            return roll_back_table(
                connection,
                self.plan,
                self.table,
                self.run,
                tenants=None if whole else [pair.tenant_id for pair in free],
                progress=progress,
                emergency=self.emergency,
                previous=self.scope.previous.get(self.table.qualified_name),
            )

    def _verify(
        self, free: Sequence[Pair], result: RollbackResult, before: Before | None, *, whole: bool
    ) -> tuple[CheckResult, ...]:
        with usable(self.connection) as connection:  # the engine survives a lost connection; so do we
            return tuple(
                verify_rollback(
                    connection,
                    self.config,
                    self.table,
                    result=result,
                    tenants=_numbers(free),
                    whole_table=whole,
                    before=before,
                    previous=self.scope.previous.get(self.table.qualified_name),
                )
            )

    def _fail_spoilt(self, free: Sequence[Pair], checks: tuple[CheckResult, ...]) -> None:
        """Fail the tenants that a check names; a check that blocks and names none fails all."""
        spoilt: set[str] = set()
        for check in checks:
            if check.blocks:
                spoilt.update(check.details.get("tenants") or [pair.tenant_id for pair in free])
        states = self._states(free)
        numbers = _numbers(free)
        wrong = [tenant for tenant in numbers if tenant in spoilt and states[tenant] == "rolled_back"]
        reasons = {tenant: f"verification: {describe_blocking(checks, tenant)}" for tenant in wrong}
        for reason in set(reasons.values()):
            self._set_states([numbers[t] for t in wrong if reasons[t] == reason], State.FAILED, reason)
        with usable(self.connection) as connection:
            keep_verdicts(connection, checks, "post-rollback", tenants=list(numbers), run_id=self.run.run_id)

    def _set_states(self, numbers: Sequence[int], state: State, reason: str) -> None:
        if not numbers:
            return
        with usable(self.connection) as connection:
            set_pair_states(
                connection,
                table_id=table_ids(connection)[self.table.qualified_name],
                tenant_numbers=list(numbers),
                state=state,
                actor=self.run.actor,
                reason=reason,
                run_id=self.run.run_id,
            )


def end_rollback(connection: psycopg.Connection, run: Run, outcomes: Sequence[RollbackOutcome]) -> None:
    """Close the run with the sum of its tables."""
    failed = [outcome for outcome in outcomes if outcome.state != "rolled_back"]
    reason = "; ".join(f"{outcome.table} {outcome.state}: {outcome.reason}" for outcome in failed) or None
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in _counts(outcome.result).items():
            counts[name] = counts.get(name, 0) + count
    state = State.FAILED if failed else State.ROLLED_BACK
    _close(connection, run, state, reason, counts=counts, detail={"reason": reason} if reason else None)


def record_nothing_left(connection: psycopg.Connection, scope: RollbackScope, *, actor: str) -> None:
    """Write into the audit log that it was asked for, and that there was nothing to do."""
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome="completed",
        tenant_id=_only(scope.tenants),
        counts={"rows_restored": 0},
        detail={
            "tables": [table.qualified_name for table in scope.tables],
            "tenants": None if scope.tenants is None else list(scope.tenants),
            "reason": scope.nothing_left,
        },
    )


def abort_rollback(connection: psycopg.Connection, run: Run, error: BaseException) -> None:
    """Close a run that could not go on, if the database can still be reached to say so."""
    with _note_of_failure(f"run {run.run_id}"):
        _close(connection, run, state_after(error), reason_of(error), detail={"error": reason_of(error)})
        note_recorded(error, OPERATION)


def rollback(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_children: bool = False,
    drop_created: bool = False,
    from_backup: int | None = None,
    verify: bool = True,
    progress: ProgressCallback | None = None,
    dagster_run_id: str | None = None,
    emergency: bool = False,
) -> list[RollbackOutcome]:
    """Do a whole selection in one run, children first; a failed table blocks its parents, nothing else.

    Returns:
        One outcome a table; none when nothing is left to roll back, which is no error.

    Raises:
        UsageError, UnknownTable, UnknownTenant, Refused: as `resolve_rollback`; nothing was started.
    """
    with attempt(connection, OPERATION, actor=actor, tables=tables, tenants=tenants):
        scope = resolve_rollback(
            connection,
            config,
            plan,
            tables=tables,
            tenants=tenants,
            with_children=with_children,
            drop_created=drop_created,
            from_backup=from_backup,
            emergency=emergency,
        )
    if scope.nothing_left is not None:
        _log.info("%s", scope.nothing_left)
        record_nothing_left(connection, scope, actor=actor)
        return []
    run = begin_rollback(
        connection, config, plan, scope, actor=actor, dagster_run_id=dagster_run_id, emergency=emergency
    )
    outcomes: list[RollbackOutcome] = []
    try:
        for table in scope.tables:
            outcomes.append(
                attempt_one_table(
                    connection,
                    config,
                    plan,
                    table,
                    run=run,
                    scope=scope,
                    verify=verify,
                    progress=progress,
                    emergency=emergency,
                )
            )
    except BaseException as error:
        abort_rollback(connection, run, error)
        raise
    end_rollback(connection, run, outcomes)
    return outcomes


def _close(
    connection: psycopg.Connection,
    run: Run,
    state: State,
    reason: str | None,
    *,
    counts: dict[str, int] | None = None,
    detail: dict[str, str] | None = None,
) -> None:
    with usable(connection) as reachable, finished_run(reachable, run, state, reason):
        audit.record(
            reachable,
            operation=OPERATION,
            actor=run.actor,
            outcome=state.value,
            run_id=run.run_id,
            counts=counts,
            detail=detail,
        )


@contextmanager
def _note_of_failure(what: str) -> Iterator[None]:
    """Let the error that is being noted down be the one that is raised, also when noting it fails."""
    try:
        yield
    except (psycopg.Error, DatabaseUnavailable) as error:
        _log.warning("that %s ended could not be recorded: %s", what, error)


def _counts(result: RollbackResult | None) -> dict[str, int]:
    if result is None:
        return {"rows_restored": 0}
    return {
        "rows_expected": result.rows_expected,
        "rows_restored": result.rows_restored,
        "rows_changed": result.rows_changed,
        "rows_deleted": result.rows_deleted,
        "rows_failed": result.rows_failed,
    }


def _numbers(pairs: Sequence[Pair]) -> dict[str, int]:
    return {pair.tenant_id: pair.tenant_number for pair in pairs}


def _only(tenants: Sequence[str] | None) -> str | None:
    return tenants[0] if tenants is not None and len(tenants) == 1 else None


def _describe(waiting: dict[str, list[str]]) -> str:
    """Return which children are not rolled back for which tenants; empty when none waits."""
    if not waiting:
        return ""
    children = sorted({child for missing in waiting.values() for child in missing})
    return f"children {', '.join(children)} are not rolled back for {shortened(sorted(waiting))}"


def _describe_lost(lost: dict[str, int]) -> str:
    if not lost:
        return ""
    return (
        f"the journal does not name {counted(sum(lost.values()), 'row')} of {shortened(sorted(lost))} that "
        "were recorded as migrated. Give a backup from before the migration: rollback --from-backup ID"
    )


def _not_rolled_back(states: dict[str, str], told: set[str]) -> str:
    left = sorted(
        tenant for tenant, state in states.items() if state != State.ROLLED_BACK.value and tenant not in told
    )
    return f"not rolled back: {shortened(left)}" if left else ""
