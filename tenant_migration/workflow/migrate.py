"""Migrates tables: gate, backfill, verification and the record of it, one table at a time in one run.

`migrate` does a whole selection. Dagster takes the same three steps one by one: `begin`, `migrate_table` for
each table in order, `end`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.dead_rollbacks import end_dead_rollbacks
from tenant_migration.backfill.ending import reason_of, state_after
from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.lease import KeepAlive
from tenant_migration.backfill.results import ProgressCallback, Selection, TableResult
from tenant_migration.backfill.runs import Run, finished_run, start_run
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.backfill.stop import refuse_when_stopped, refuse_while_emergency
from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt, note_recorded
from tenant_migration.database.connection import usable
from tenant_migration.errors import (
    DatabaseUnavailable,
    LeaseHeld,
    PlanOutdated,
    Refused,
    RunStopped,
    TableStopped,
    TenantMigrationError,
)
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import CheckResult
from tenant_migration.integrity.tenant_verdicts import keep_verdicts
from tenant_migration.mapping.repository import mapped_tenants
from tenant_migration.planning.counted import counted
from tenant_migration.planning.drift import refuse_if_changed, refuse_if_configuration_changed
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import note_allowed_tenants, table_ids
from tenant_migration.recovery.backups.manifest import note_run
from tenant_migration.workflow.outcome import TableOutcome, describe_blocking, describe_waiting
from tenant_migration.workflow.pairs import pair_states, tenants_in, tenants_waiting_for_parents
from tenant_migration.workflow.selection import (
    add_parents,
    refuse_table_hazards,
    select_tables,
    select_tenants,
    shortened,
)

_log = logging.getLogger(__name__)

OPERATION = "migrate"
"""In the audit log."""


@dataclass(frozen=True)
class Scope:
    """What a run does: checked, nothing written yet."""

    tables: tuple[TablePlan, ...]
    """In order, parents first."""
    tenants: tuple[str, ...] | None
    """None: every tenant with a mapping."""


def resolve_scope(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_parents: bool = False,
    skip_validation: bool = False,
    dry_run: bool = False,
) -> Scope:
    """Turn names into a scope that may start now. Reads only.

    Raises:
        UnknownTable, UnknownTenant: a name that is not known.
        PlanOutdated: the configuration changed since the plan was stored, or a table did that was asked for
            by name, or is the only one; in a run over all tables it is refused alone, by `migrate_table`.
            In a dry run always.
        Refused: the emergency switch is set, a hazard of the plan, a parent that is pending, or, for all
            tenants, an unmapped tenant.
    """
    refuse_while_emergency(connection)
    refuse_if_configuration_changed(config, plan)
    chosen = select_tables(plan, tables)
    selected = select_tenants(connection, config, tenants)
    if with_parents:
        chosen = add_parents(plan, chosen)
    refuse_table_hazards(chosen)
    changed = _changes(connection, config, chosen)
    if changed and (dry_run or tables is not None or len(changed) == len(chosen)):
        raise PlanOutdated("\n".join(changed))
    scope = Scope(tuple(chosen), None if selected is None else tuple(selected))
    _refuse_pending_parents(connection, config, scope)
    if not skip_validation:
        _refuse_unsound_mapping(connection, config, plan, scope)
        if selected is None:
            _refuse_unmapped_tenants(connection, config, plan, scope)
    return scope


def _changes(
    connection: psycopg.Connection, config: MigrationConfig, tables: Sequence[TablePlan]
) -> list[str]:
    changes = []
    for table in tables:
        try:
            refuse_if_changed(connection, config, table)
        except PlanOutdated as change:
            changes.append(str(change))
    return changes


def begin(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    scope: Scope,
    *,
    actor: str,
    dagster_run_id: str | None = None,
) -> Run:
    """Open a run: its row, the mapping frozen, the audit record."""
    selection = Selection(
        tables=[table.qualified_name for table in scope.tables],
        tenants=None if scope.tenants is None else list(scope.tenants),
    )
    run = start_run(
        connection, plan, kind="migrate", selection=selection, actor=actor, dagster_run_id=dagster_run_id
    )
    note_run(connection, run.run_id)
    note_allowed_tenants(connection, config.validation.allowed_unmapped_tenants)
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome="started",
        run_id=run.run_id,
        detail={"tables": selection.tables, "tenants": selection.tenants},
    )
    return run


def migrate_table(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    table: TablePlan,
    *,
    run: Run,
    tenants: Sequence[str] | None = None,
    skip_validation: bool = False,
    progress: ProgressCallback | None = None,
) -> TableOutcome:
    """Migrate one table for the tenants of the run's scope.

    0. A table that changed since its plan was stored is refused, with the difference.
    1. Tenants whose parents are not completed are blocked; the others go on.
    2. The checks before; what blocks fails the table, nothing is written. Tenants that were completed by an
       earlier run stay so until the backfill has the table to itself.
    3. The backfill, in committed batches.
    4. The checks after; a tenant is completed only when nothing stands against it.
    5. States, mapping status and audit record.

    Returns:
        What became of it. What a batch committed stays, journaled, also when the outcome is `failed`.

    Raises:
        PlanOutdated, LeaseHeld, psycopg.Error: the table could not go on at all; recorded first.
        RunStopped: nor may any other table of the run.
    """
    started = time.monotonic()
    work = _TableWork(connection, config, plan, table, run)
    try:
        outcome = work.perform(tenants, skip_validation=skip_validation, progress=progress)
    except BaseException as error:
        with _note_of_failure(f"{table.qualified_name} of run {run.run_id}"):
            work.end_checks(error)
            work.record(state_after(error).value, started, detail={"error": reason_of(error)})
        raise
    rows = outcome.result.rows_migrated if outcome.result else 0
    detail: dict[str, object] | None = {"reason": outcome.reason} if outcome.reason else None
    work.record(outcome.state, started, counts={"rows_migrated": rows}, detail=detail)
    return outcome


def attempt_table(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    table: TablePlan,
    *,
    run: Run,
    tenants: Sequence[str] | None = None,
    skip_validation: bool = False,
    progress: ProgressCallback | None = None,
) -> TableOutcome:
    """As `migrate_table`; but what keeps only this table from going on is its outcome, and the run goes on.

    Raises:
        RunStopped: no other table of the run may start.
        DatabaseUnavailable: nor could it.
    """
    try:
        return migrate_table(
            connection,
            config,
            plan,
            table,
            run=run,
            tenants=tenants,
            skip_validation=skip_validation,
            progress=progress,
        )
    except TableStopped as stopped:
        return TableOutcome(table.qualified_name, "failed", reason_of(stopped))
    except (RunStopped, DatabaseUnavailable):
        raise
    except (TenantMigrationError, psycopg.Error) as error:
        return TableOutcome(table.qualified_name, "failed", reason_of(error))


@dataclass(frozen=True)
class _TableWork:
    """One table of a run, with what its steps need."""

    connection: psycopg.Connection
    config: MigrationConfig
    plan: Plan
    table: TablePlan
    run: Run

    def perform(
        self, tenants: Sequence[str] | None, *, skip_validation: bool, progress: ProgressCallback | None
    ) -> TableOutcome:
        """Take the steps of `migrate_table`."""
        name = self.table.qualified_name
        with usable(self.connection) as connection:
            refuse_if_changed(connection, self.config, self.table)
        in_scope = list(self.run.tenants) if tenants is None else list(tenants)
        before: tuple[CheckResult, ...] = ()
        with self._stoppable("the checks before the migration"):
            self._end_dead_rollbacks(in_scope)
            waiting = self.block_waiting_tenants(in_scope)
            free = [tenant for tenant in in_scope if tenant not in waiting]
            if in_scope and not free:
                return TableOutcome(
                    name, "blocked", describe_waiting(waiting), tenant_states=self._states_of(in_scope)
                )
            selected = None if tenants is None and not waiting else free
            if not skip_validation:
                states = self._states_of(free)
                to_do = [tenant for tenant in free if states[tenant] != State.COMPLETED.value]
                self._set_states(to_do, State.VALIDATING, "checks before the migration")
                with usable(self.connection) as connection:
                    before = tuple(
                        run_checks_before(connection, self.plan, self.config, tables=[name], tenants=selected)
                    )
                self._refuse_when_stopped()
                if any(check.blocks for check in before):
                    refusal = f"validation: {describe_blocking(before)}"
                    self._set_states(to_do, State.FAILED, refusal)
                    states = self._states_of(in_scope)
                    return TableOutcome(name, "failed", refusal, before=before, tenant_states=states)

        with self._naming_a_stop(), usable(self.connection) as connection:
            result = backfill_table(
                connection, self.plan, self.table, self.run, tenants=selected, progress=progress
            )
        with self._stoppable("the checks after the migration"):
            with usable(self.connection) as connection:  # the engine survives a lost connection; so do we
                after = tuple(
                    run_checks_after(connection, self.plan, self.config, tables=[name], tenants=selected)
                )
            self._refuse_when_stopped()
            self._judge(free, after)
        states = self._states_of(in_scope)
        reason = _what_is_missing(result, after, waiting, states)
        return TableOutcome(
            table=name,
            state="failed" if reason else "completed",
            reason=reason,
            result=result,
            before=before,
            after=after,
            tenant_states=states,
            tenant_rows=dict(result.rows_by_tenant),
        )

    @contextmanager
    def _stoppable(self, what: str) -> Iterator[None]:
        """Let a cancel or an emergency end what the body runs, on the server when this process is frozen."""
        with usable(self.connection) as connection:
            watch = KeepAlive(
                Session(connection),
                None,
                table_name=self.table.qualified_name,
                run_id=self.run.run_id,
                table_id=self._table_id(connection),
            )
            with self._naming_a_stop(), watch, watch.long_statement(what):
                yield

    @contextmanager
    def _naming_a_stop(self) -> Iterator[None]:
        """Let an error by which a stop ended the body on the server be that stop."""
        try:
            yield
        except psycopg.Error:
            self._refuse_when_stopped()
            raise

    def _refuse_when_stopped(self) -> None:
        """Raise RunStopped: a check that was ended with the run says nothing about the table."""
        with usable(self.connection) as connection:
            refuse_when_stopped(
                connection,
                table_name=self.table.qualified_name,
                table_id=self._table_id(connection),
                run_id=self.run.run_id,
            )

    def _table_id(self, connection: psycopg.Connection) -> int:
        return table_ids(connection)[self.table.qualified_name]

    def end_checks(self, error: BaseException) -> None:
        """Let no tenant stay in the state of checks, before or after, that ended without a verdict."""
        at_checks = (State.VALIDATING.value, State.VERIFYING.value)
        with usable(self.connection) as connection:
            left = tenants_in(connection, self._table_id(connection), self.run.run_id, at_checks)
        state = State.BLOCKED if isinstance(error, LeaseHeld) else state_after(error)
        self._set_states(left, state, reason_of(error))

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
                counts=counts,
                duration_ms=round((time.monotonic() - started) * 1000),
                detail=detail,
            )

    def _end_dead_rollbacks(self, tenants: list[str]) -> None:
        with usable(self.connection) as connection:
            end_dead_rollbacks(
                connection,
                table_name=self.table.qualified_name,
                table_id=self._table_id(connection),
                tenant_numbers=[self.run.tenants[tenant] for tenant in tenants],
                run_id=self.run.run_id,
                actor=self.run.actor,
                wait_s=self.table.settings.lease_wait_s,
            )

    def block_waiting_tenants(self, tenants: list[str]) -> dict[str, list[str]]:
        """Block the tenants that have to wait for parents; return which wait for what."""
        with usable(self.connection) as connection:
            waiting = tenants_waiting_for_parents(connection, self.table, tenants)
        for parents in {tuple(missing) for missing in waiting.values()}:
            blocked = [tenant for tenant, missing in waiting.items() if tuple(missing) == parents]
            self._set_states(blocked, State.BLOCKED, f"parents not completed: {', '.join(parents)}")
        return waiting

    def _judge(self, tenants: list[str], after: tuple[CheckResult, ...]) -> None:
        """Complete the tenants that nothing stands against, fail those that a check names.

        A check that blocks and names no tenant (it could not run, or is about the whole table) fails all.
        """
        spoilt: set[str] = set()
        for check in after:
            if check.blocks:
                spoilt.update(check.details.get("tenants") or tenants)
        states = self._states_of(tenants)
        undecided = [tenant for tenant in tenants if states[tenant] != State.FAILED.value]
        failed = [tenant for tenant in undecided if tenant in spoilt]
        completed = [tenant for tenant in undecided if tenant not in spoilt]
        reasons = {tenant: f"verification: {describe_blocking(after, tenant)}" for tenant in failed}
        for reason in set(reasons.values()):
            self._set_states([tenant for tenant in failed if reasons[tenant] == reason], State.FAILED, reason)
        self._set_states(completed, State.COMPLETED, "verified")
        with usable(self.connection) as connection:
            keep_verdicts(connection, after, "post-migration", tenants=undecided, run_id=self.run.run_id)

    def _states_of(self, tenants: Sequence[str]) -> dict[str, str]:
        name = self.table.qualified_name
        with usable(self.connection) as connection:
            states = pair_states(connection, [name])
        return {tenant: states.get((name, tenant), State.PENDING.value) for tenant in tenants}

    def _set_states(self, tenants: Sequence[str], state: State, reason: str) -> None:
        if not tenants:
            return
        with usable(self.connection) as connection:
            set_pair_states(
                connection,
                table_id=self._table_id(connection),
                tenant_numbers=[self.run.tenants[tenant] for tenant in tenants],
                state=state,
                actor=self.run.actor,
                reason=reason,
                run_id=self.run.run_id,
            )


def _what_is_missing(
    result: TableResult,
    after: tuple[CheckResult, ...],
    waiting: dict[str, list[str]],
    states: dict[str, str],
) -> str | None:
    """Return why the table is not completed, or None: every tenant is, and no check stands against it."""
    unfinished = sorted(tenant for tenant, state in states.items() if state != State.COMPLETED.value)
    reasons = [
        f"{counted(result.rows_quarantined, 'row')} in quarantine" if result.rows_quarantined else "",
        f"{counted(result.rows_remaining, 'row')} without an organization" if result.rows_remaining else "",
        describe_blocking(after),
        describe_waiting(waiting),
        f"not completed: {shortened(unfinished)}" if unfinished else "",
    ]
    return "; ".join(filter(None, reasons)) or None


def end(connection: psycopg.Connection, run: Run, outcomes: Sequence[TableOutcome]) -> None:
    """Close the run with the sum of its tables."""
    failed = [outcome for outcome in outcomes if outcome.state != "completed"]
    reason = "; ".join(f"{outcome.table} {outcome.state}: {outcome.reason}" for outcome in failed) or None
    rows = sum(outcome.result.rows_migrated for outcome in outcomes if outcome.result)
    state = State.FAILED if failed else State.COMPLETED
    detail = {"reason": reason} if reason else None
    _close(connection, run, state, reason, counts={"rows_migrated": rows}, detail=detail)


def migrate(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_parents: bool = False,
    skip_validation: bool = False,
    progress: ProgressCallback | None = None,
    dagster_run_id: str | None = None,
    later_tables: Sequence[str] = (),
) -> list[TableOutcome]:
    """Do a whole selection in one run, parents first; a failed table blocks its children, nothing else.

    `later_tables` are those that the caller starts afterwards, each in a run of its own, and only when their
    parents succeeded: children among them are blocked too, since they will not get to say so themselves.
    """
    with attempt(connection, OPERATION, actor=actor, tables=tables, tenants=tenants):
        scope = resolve_scope(
            connection,
            config,
            plan,
            tables=tables,
            tenants=tenants,
            with_parents=with_parents,
            skip_validation=skip_validation,
        )
    run = begin(connection, config, plan, scope, actor=actor, dagster_run_id=dagster_run_id)
    outcomes: list[TableOutcome] = []
    try:
        for table in scope.tables:
            outcomes.append(
                attempt_table(
                    connection,
                    config,
                    plan,
                    table,
                    run=run,
                    tenants=scope.tenants,
                    skip_validation=skip_validation,
                    progress=progress,
                )
            )
        _block_children(connection, config, plan, run, outcomes, later_tables)
    except BaseException as error:
        abort(connection, run, error)
        raise
    end(connection, run, outcomes)
    return outcomes


def _block_children(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    run: Run,
    outcomes: Sequence[TableOutcome],
    tables: Sequence[str],
) -> None:
    unfinished = {outcome.table for outcome in outcomes if outcome.state != "completed"}
    for table in plan.tables:  # parents first, so that children of children are found too
        if unfinished.intersection(table.depends_on):
            unfinished.add(table.qualified_name)
            if table.qualified_name in tables:
                _TableWork(connection, config, plan, table, run).block_waiting_tenants(list(run.tenants))


def abort(connection: psycopg.Connection, run: Run, error: BaseException) -> None:
    """Close a run that could not go on, if the database can still be reached to say so."""
    with _note_of_failure(f"run {run.run_id}"):
        _close(connection, run, state_after(error), reason_of(error), detail={"error": reason_of(error)})
        note_recorded(error, OPERATION)


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


def _refuse_pending_parents(connection: psycopg.Connection, config: MigrationConfig, scope: Scope) -> None:
    in_run = frozenset(table.qualified_name for table in scope.tables)
    tenants = scope.tenants
    if tenants is None:
        tenants = tuple(mapped_tenants(connection, config.interface_schema))
    lines = []
    for table in scope.tables:
        waiting = tenants_waiting_for_parents(connection, table, tenants, parents_in_run=in_run)
        if waiting:
            lines.append(f"  {table.qualified_name}: {describe_waiting(waiting)}")
    if lines:
        raise Refused(
            "parents are pending:\n"
            + "\n".join(lines)
            + "\nmigrate the parents first, or give --with-parents"
        )


def _refuse_unsound_mapping(
    connection: psycopg.Connection, config: MigrationConfig, plan: Plan, scope: Scope
) -> None:
    """Refuse what the checks of the whole database find: a circle of organizations, ambiguous mappings."""
    blocking = tuple(
        check
        for check in run_checks_before(connection, plan, config, tables=[], tenants=scope.tenants)
        if check.blocks
    )
    if blocking:
        raise Refused(
            f"validation of the mapping and its organizations: {describe_blocking(blocking)}\n"
            "`tenant-migration validate` shows them; mend them first"
        )


def _refuse_unmapped_tenants(
    connection: psycopg.Connection, config: MigrationConfig, plan: Plan, scope: Scope
) -> None:
    names = [table.qualified_name for table in scope.tables]
    checks = run_checks_before(connection, plan, config, tables=names, only=["tenants_have_mapping"])
    blocking = tuple(check for check in checks if check.blocks)
    if blocking:
        where = "\n".join(f"  {check.table}: {describe_blocking((check,))}" for check in blocking)
        raise Refused(
            f"a run over all tenants needs a mapping for every tenant:\n{where}\n"
            "map them (`mappings --import`), list them in validation.allowed_unmapped_tenants, "
            "or choose tenants"
        )
