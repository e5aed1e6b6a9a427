"""Migrates tables: gate, backfill, verification and the record of it, one table at a time in one run.

`migrate` does a whole selection. Dagster takes the same three steps one by one: `begin`, `migrate_table` for
each table in order, `end`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import ProgressCallback, Selection, TableResult
from tenant_migration.backfill.runs import Run, finish_run, start_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.errors import Refused, TenantMigrationError
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import CheckResult
from tenant_migration.planning.drift import refuse_if_changed
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.workflow.outcome import TableOutcome, describe_blocking
from tenant_migration.workflow.pairs import pair_states, tenants_waiting_for_parents
from tenant_migration.workflow.selection import (
    add_parents,
    refuse_table_hazards,
    select_tables,
    select_tenants,
    shortened,
)


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
) -> Scope:
    """Turn names into a scope that may start now. Reads only.

    Raises:
        UnknownTable, UnknownTenant: a name that is not known.
        PlanOutdated: a table changed since its plan was stored.
        Refused: a hazard of the plan, a parent that is pending, or, for all tenants, an unmapped tenant.
    """
    chosen = select_tables(plan, tables)
    selected = select_tenants(connection, config, tenants)
    if with_parents:
        chosen = add_parents(plan, chosen)
    refuse_table_hazards(chosen)
    for table in chosen:
        refuse_if_changed(connection, config, table)
    scope = Scope(tuple(chosen), None if selected is None else tuple(selected))
    _refuse_pending_parents(connection, config, scope)
    if selected is None and not skip_validation:
        _refuse_unmapped_tenants(connection, config, plan, scope)
    return scope


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
    audit.record(
        connection,
        operation="migrate",
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

    1. Tenants whose parents are not completed are blocked; the others go on.
    2. The checks before; what blocks fails the table, nothing is written.
    3. The backfill, in committed batches.
    4. The checks after; a tenant is completed only when nothing stands against it.
    5. States, mapping status and audit record.

    Returns:
        What became of it. What a batch committed stays, journaled, also when the outcome is `failed`.

    Raises:
        LeaseHeld, RunStopped, psycopg.OperationalError: the operation could not go on at all; recorded first.
    """
    started = time.monotonic()
    table_id = table_ids(connection)[table.qualified_name]
    in_scope = list(run.tenants) if tenants is None else list(tenants)
    try:
        outcome = _migrate_table(
            connection,
            config,
            plan,
            table,
            table_id,
            run,
            in_scope,
            tenants is None,
            skip_validation,
            progress,
        )
    except BaseException as error:
        _record(connection, run, table, "failed", started, detail={"error": _sentence(error)})
        raise
    rows = outcome.result.rows_migrated if outcome.result else 0
    _record(
        connection, run, table, outcome.state, started, counts={"rows_migrated": rows}, reason=outcome.reason
    )
    return outcome


def _migrate_table(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    table: TablePlan,
    table_id: int,
    run: Run,
    in_scope: list[str],
    everything: bool,
    skip_validation: bool,
    progress: ProgressCallback | None,
) -> TableOutcome:
    name = table.qualified_name
    waiting = tenants_waiting_for_parents(connection, table, in_scope)
    for parents in {tuple(missing) for missing in waiting.values()}:
        blocked = [tenant for tenant, missing in waiting.items() if tuple(missing) == parents]
        _set_states(
            connection, table_id, run, blocked, State.BLOCKED, f"parents not completed: {', '.join(parents)}"
        )
    free = [tenant for tenant in in_scope if tenant not in waiting]
    blocked_reason = _blocked_sentence(waiting)
    if in_scope and not free:
        return TableOutcome(
            name, "blocked", blocked_reason, tenant_states=dict.fromkeys(in_scope, State.BLOCKED.value)
        )
    selected = None if everything and not waiting else free

    before: tuple[CheckResult, ...] = ()
    if not skip_validation:
        _set_states(connection, table_id, run, free, State.VALIDATING, "checks before the migration")
        before = tuple(run_checks_before(connection, plan, config, tables=[name], tenants=selected))
        if any(check.blocks for check in before):
            reason = f"validation: {describe_blocking(before)}"
            _set_states(connection, table_id, run, free, State.FAILED, reason)
            return TableOutcome(
                name,
                "failed",
                reason,
                before=before,
                tenant_states=_states_of(connection, name, in_scope),
            )

    result = backfill_table(connection, plan, table, run, tenants=selected, progress=progress)
    after = tuple(run_checks_after(connection, plan, config, tables=[name], tenants=selected))
    _judge(connection, table_id, run, free, result, after)
    states = _states_of(connection, name, in_scope)
    unfinished = sorted(tenant for tenant, state in states.items() if state != State.COMPLETED.value)
    reasons = [
        *([f"{result.rows_quarantined:,} rows quarantined"] if result.rows_quarantined else []),
        *([f"{result.rows_remaining:,} rows remain"] if result.rows_remaining else []),
        *([text] if (text := describe_blocking(after)) else []),
        *([blocked_reason] if blocked_reason else []),
        *([f"not completed: {shortened(unfinished)}"] if unfinished else []),
    ]
    # A check that stands against the table fails it also when no single tenant can be named for it.
    done = not unfinished and not any(check.blocks for check in after) and result.rows_remaining == 0
    return TableOutcome(
        table=name,
        state="completed" if done else "failed",
        reason=None if done else "; ".join(reasons),
        result=result,
        before=before,
        after=after,
        tenant_states=states,
        tenant_rows=dict(result.rows_by_tenant),
    )


def _judge(
    connection: psycopg.Connection,
    table_id: int,
    run: Run,
    tenants: list[str],
    result: TableResult,
    after: tuple[CheckResult, ...],
) -> None:
    """Complete the tenants that nothing stands against; fail those that a check names, or all when it names none."""
    blocking = [check for check in after if check.blocks]
    spoilt: set[str] = set()
    for check in blocking:
        named = check.details.get("tenants")
        spoilt.update(named if named else tenants)
    states = _states_of(connection, result.table, tenants)
    already_failed = {tenant for tenant, state in states.items() if state == State.FAILED.value}
    failed = [tenant for tenant in tenants if tenant in spoilt and tenant not in already_failed]
    completed = [tenant for tenant in tenants if tenant not in spoilt and tenant not in already_failed]
    _set_states(connection, table_id, run, failed, State.FAILED, f"verification: {describe_blocking(after)}")
    _set_states(connection, table_id, run, completed, State.COMPLETED, "verified")


def end(connection: psycopg.Connection, run: Run, outcomes: Sequence[TableOutcome]) -> None:
    """Close the run with the sum of its tables."""
    failed = [outcome for outcome in outcomes if outcome.state != "completed"]
    reason = "; ".join(f"{outcome.table} {outcome.state}: {outcome.reason}" for outcome in failed) or None
    finish_run(connection, run, State.FAILED if failed else State.COMPLETED, reason)
    audit.record(
        connection,
        operation="migrate",
        actor=run.actor,
        outcome="failed" if failed else "completed",
        run_id=run.run_id,
        counts={"rows_migrated": sum(outcome.result.rows_migrated for outcome in outcomes if outcome.result)},
        detail={"reason": reason} if reason else None,
    )


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
) -> list[TableOutcome]:
    """Do a whole selection in one run, parents first. A failed table blocks its children, not its neighbours."""
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
                migrate_table(
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
    except BaseException as error:
        abort(connection, run, error)
        raise
    end(connection, run, outcomes)
    return outcomes


def abort(connection: psycopg.Connection, run: Run, error: BaseException) -> None:
    """Close a run that could not go on, if the database can still be reached to say so."""
    if connection.closed:
        return
    finish_run(connection, run, State.FAILED, _sentence(error))
    audit.record(
        connection,
        operation="migrate",
        actor=run.actor,
        outcome="failed",
        run_id=run.run_id,
        detail={"error": _sentence(error)},
    )


def _refuse_pending_parents(connection: psycopg.Connection, config: MigrationConfig, scope: Scope) -> None:
    in_run = frozenset(table.qualified_name for table in scope.tables)
    tenants = list(scope.tenants) if scope.tenants is not None else _mapped_tenants(connection, config)
    lines = []
    for table in scope.tables:
        waiting = tenants_waiting_for_parents(connection, table, tenants, parents_in_run=in_run)
        if waiting:
            lines.append(f"  {table.qualified_name}: {_blocked_sentence(waiting)}")
    if lines:
        raise Refused(
            "parents are pending:\n"
            + "\n".join(lines)
            + "\nmigrate the parents first, or give --with-parents"
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
            "map them (`mappings --import`), list them in validation.allowed_unmapped_tenants, or name --tenant"
        )


def _mapped_tenants(connection: psycopg.Connection, config: MigrationConfig) -> list[str]:
    from psycopg import sql  # noqa: PLC0415

    query = sql.SQL("SELECT tenant_id FROM {}.tenant_org_mappings").format(
        sql.Identifier(config.interface_schema)
    )
    return [row[0] for row in connection.execute(query)]


def _states_of(connection: psycopg.Connection, table: str, tenants: Sequence[str]) -> dict[str, str]:
    states = pair_states(connection, [table])
    return {tenant: states.get((table, tenant), State.PENDING.value) for tenant in tenants}


def _set_states(
    connection: psycopg.Connection, table_id: int, run: Run, tenants: Sequence[str], state: State, reason: str
) -> None:
    if not tenants:
        return
    set_pair_states(
        connection,
        table_id=table_id,
        tenant_numbers=[run.tenants[tenant] for tenant in tenants],
        state=state,
        actor=run.actor,
        reason=reason,
        run_id=run.run_id,
    )


def _blocked_sentence(waiting: dict[str, list[str]]) -> str:
    if not waiting:
        return ""
    parents = sorted({parent for missing in waiting.values() for parent in missing})
    return f"parents {', '.join(parents)} are not completed for {shortened(sorted(waiting))}"


def _record(
    connection: psycopg.Connection,
    run: Run,
    table: TablePlan,
    outcome: str,
    started: float,
    *,
    counts: dict[str, int] | None = None,
    reason: str | None = None,
    detail: dict[str, object] | None = None,
) -> None:
    if connection.closed:
        return
    audit.record(
        connection,
        operation="migrate table",
        actor=run.actor,
        outcome=outcome,
        run_id=run.run_id,
        table=table.qualified_name,
        counts=counts,
        duration_ms=round((time.monotonic() - started) * 1000),
        detail=detail if reason is None else {"reason": reason},
    )


def _sentence(error: BaseException) -> str:
    if isinstance(error, (TenantMigrationError, psycopg.Error)):
        return str(error).strip()
    return f"{type(error).__name__}: {error}".strip()
