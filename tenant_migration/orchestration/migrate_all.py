"""The job `migrate_all`: every table for all tenants in one run, one pass over each table.

One op a table, wired like the assets. A table that fails does not fail its op: other tenants of its children
go on, and the engine blocks those that have to wait. The last op fails the run with the list of what is not
completed.

    start -> table ops, parents before children -> finish
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from dataclasses import dataclass
from typing import Any

import dagster as dg

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.results import DryRunTable
from tenant_migration.backfill.runs import Run
from tenant_migration.errors import PlanOutdated, Refused
from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.backup_first import back_up_before
from tenant_migration.orchestration.check_metadata import check_table
from tenant_migration.orchestration.checks import VALIDATION, Verdict
from tenant_migration.orchestration.config import MigrateAllConfig
from tenant_migration.orchestration.external import (
    MAPPING_COMPLETE,
    judge_database_before,
    judge_mappings,
)
from tenant_migration.orchestration.listeners import listener_of
from tenant_migration.orchestration.names import POOL, mappings_key, op_name, table_key
from tenant_migration.orchestration.open_run import OpenRun
from tenant_migration.orchestration.record import Recorder
from tenant_migration.orchestration.recording import Recording
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import Session, event_source, planned_table, session
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.migrate import (
    OPERATION,
    Scope,
    abort,
    attempt_table,
    begin,
    end,
    resolve_scope,
)
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.selection import shortened

NAME = "migrate_all"


@dataclass(frozen=True)
class Started:
    """What the first op hands to the others, in memory: all of them run in one process."""

    plan: Plan
    scope: Scope
    run: Run | None
    """None: a dry run."""
    skip_validation: bool

    def has(self, name: str) -> bool:
        """Say whether the run was asked for a table."""
        return any(table.qualified_name == name for table in self.scope.tables)


def migrate_all_job(plan: Plan) -> dg.JobDefinition:
    """Return the job for the tables of a plan."""
    start = _start_op(plan)
    finish = _finish_op()
    table_ops = {table.qualified_name: _table_op(table) for table in plan.tables}

    @dg.job(
        name=NAME,
        description="Migrates all tables for all tenants in one pass over each table, and records every "
        "tenant and table on the same assets. The configuration as it is does everything; `dry_run: true` "
        "changes nothing.",
        tags={"tenant_migration/scope": "all"},
    )
    def migrate_all() -> None:
        started = start()
        done: dict[str, Any] = {}
        for table in plan.tables:
            parents = [done[parent] for parent in table.depends_on]
            op = table_ops[table.qualified_name]
            done[table.qualified_name] = op(started, parents) if parents else op(started)
        finish(started, list(done.values()))

    return migrate_all


def _start_op(plan: Plan) -> dg.OpDefinition:
    mappings = mappings_key(plan)
    known = frozenset(table.qualified_name for table in plan.tables)

    @dg.op(name="start", description="Resolves what was asked for, refuses what cannot start, opens the run.")
    def start(
        context: dg.OpExecutionContext,
        config: MigrateAllConfig,
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
    ) -> Started:
        recorder = Recorder(context.instance, event_source(context), mappings)
        with session(context, database, writes=not config.dry_run) as opened:
            if config.dry_run:
                stored = opened.plan_to_read()
                return Started(stored, _scope(opened, stored, config, known), None, config.skip_validation)
            with opened.attempt(OPERATION, tables=config.tables, tenants=config.tenants):
                stored = opened.plan_to_write(tables=config.tables or None, tenants=config.tenants or None)
                opened.sync_partitions()
                try:
                    scope = _scope(opened, stored, config, known)
                except Refused:
                    recorder.verdict(judge_mappings(opened, stored))
                    recorder.verdict(judge_database_before(opened, stored))
                    raise
            if (
                scope.tenants is None
                and len(scope.tables) == len(stored.tables)
                and not config.skip_validation
            ):
                recorder.verdict(Verdict(MAPPING_COMPLETE, True, "every tenant with rows has a mapping"))
                recorder.verdict(Verdict(VALIDATION, True, "nothing stands against the database as a whole"))
            with opened.attempt(OPERATION, tables=config.tables, tenants=config.tenants):
                if not config.skip_backup:
                    back_up_before(opened, stored, scope)
            run = begin(
                opened.connection,
                opened.config,
                stored,
                scope,
                actor=opened.actor,
                dagster_run_id=context.run_id,
            )
            open_run.opened(run, database, abort)
        return Started(stored, scope, run, config.skip_validation)

    return start


def _scope(opened: Session, plan: Plan, config: MigrateAllConfig, known: frozenset[str]) -> Scope:
    """Return what the run does.

    Raises:
        PlanOutdated: the stored plan has a table for which this job, made from an earlier plan, has no op.
    """
    scope = resolve_scope(
        opened.connection,
        opened.config,
        plan,
        tables=config.tables or None,
        tenants=config.tenants or None,
        with_parents=config.with_parents,
        skip_validation=config.skip_validation,
        dry_run=config.dry_run,
    )
    missing = [table.qualified_name for table in scope.tables if table.qualified_name not in known]
    if missing:
        raise PlanOutdated(
            f"the stored plan has tables that this code location does not know yet ({shortened(missing)}): "
            "reload it (Deployment, Code locations) and start again"
        )
    return scope


def _table_op(table: TablePlan) -> dg.OpDefinition:
    name = table.qualified_name
    key = table_key(table)
    inputs = {"started": dg.In(Started)}
    if table.depends_on:
        inputs["parents"] = dg.In(dg.Nothing)

    @dg.op(
        name=f"migrate__{op_name(table)}",
        description=f"Validates, migrates and verifies {name} for all tenants.",
        ins=inputs,
        out={"result": dg.Out(dg.Any)},
        pool=POOL,
        tags={"dagster/priority": str(-table.position)},  # of those that could start, the plan's first
    )
    def migrate_one_table(
        context: dg.OpExecutionContext,
        started: Started,
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
        recording: dg.ResourceParam[Recording],
    ) -> Any:
        if not started.has(name):
            context.log.info(f"{name} was not asked for")
            return None
        if open_run.reason is not None:
            raise dg.Failure(f"{name} was not started: {open_run.reason}", allow_retries=False)
        recorder = Recorder(context.instance, event_source(context), key)
        if started.run is None:
            return _dry_run(context, started, database, recorder, name=name)
        try:
            outcome = _migrate(context, started, database, run=started.run, name=name)
            recording.submit(name, lambda: recorder.outcome(outcome))
            return outcome
        except BaseException as error:  # interrupts of Dagster's too
            open_run.stopped(error)
            raise

    return migrate_one_table


def _migrate(
    context: dg.OpExecutionContext,
    started: Started,
    database: Database,
    *,
    run: Run,
    name: str,
) -> TableOutcome:
    with session(context, database) as opened:
        outcome = attempt_table(
            opened.connection,
            opened.config,
            started.plan,
            planned_table(started.plan, name),
            run=run,
            tenants=started.scope.tenants,
            skip_validation=started.skip_validation,
            progress=opened.progress,
        )
    context.add_output_metadata(metadata.of_outcome(outcome) | check_table([*outcome.before, *outcome.after]))
    listener = listener_of(context.run.tags)
    if listener is not None:
        listener.outcomes.append(outcome)
    if outcome.state != "completed":
        context.log.error(f"{name}: {outcome.state}: {outcome.reason}")
    return outcome


def _dry_run(
    context: dg.OpExecutionContext, started: Started, database: Database, recorder: Recorder, *, name: str
) -> DryRunTable:
    with session(context, database, writes=False) as opened:
        dry_run = dry_run_table(
            opened.connection, started.plan, planned_table(started.plan, name), tenants=started.scope.tenants
        )
    recorder.dry_run(dry_run)
    context.add_output_metadata(metadata.of_dry_run(dry_run))
    return dry_run


def _finish_op() -> dg.OpDefinition:
    @dg.op(
        name="finish",
        description="Closes the run; fails it with the list of tables that are not completed.",
        ins={"started": dg.In(Started), "results": dg.In(list)},
        out={"result": dg.Out(dg.Nothing)},
    )
    def finish(
        context: dg.OpExecutionContext,
        started: Started,
        results: list[Any],
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
        recording: dg.ResourceParam[Recording],
    ) -> None:
        if started.run is None:
            _finish_dry_run(context, [result for result in results if isinstance(result, DryRunTable)])
            return
        outcomes = [result for result in results if isinstance(result, TableOutcome)]
        try:
            recording.wait()
        except BaseException as error:  # interrupts of Dagster's too
            open_run.stopped(error)
            raise
        with session(context, database) as opened:
            end(opened.connection, started.run, outcomes)
            open_run.closed()
        described = metadata.of_outcomes(outcomes)
        failed = [outcome for outcome in outcomes if outcome.state != "completed"]
        if failed:
            lines = "\n".join(f"  {outcome.table}: {outcome.state}: {outcome.reason}" for outcome in failed)
            raise dg.Failure(f"not completed:\n{lines}", metadata=described, allow_retries=False)
        context.add_output_metadata(described)

    return finish


def _finish_dry_run(context: dg.OpExecutionContext, dry_runs: list[DryRunTable]) -> None:
    refusals = [f"  {dry_run.table}: {refusal}" for dry_run in dry_runs for refusal in dry_run.refusals]
    if refusals:
        raise dg.Failure("the real run would not start:\n" + "\n".join(refusals), allow_retries=False)
    context.log.info(
        f"the real run would migrate {sum(dry_run.rows_to_migrate for dry_run in dry_runs):,} rows"
    )
