"""The job `rollback_all`: every table for all tenants in one run. It needs the database's name typed in.

One op a table, wired against the assets. As in `migrate_all`, a table that fails does not fail its op: its
parents are blocked by the engine where they have to be, and the last op fails the run with the list.

    start -> table ops, children before parents -> finish
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tenant_migration.backfill.runs import Run
from tenant_migration.errors import Refused
from tenant_migration.orchestration import recovery_metadata
from tenant_migration.orchestration.config import RollbackAllConfig
from tenant_migration.orchestration.listeners import listener_of
from tenant_migration.orchestration.names import op_name, table_key
from tenant_migration.orchestration.open_run import OpenRun
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.rollback_jobs import report
from tenant_migration.orchestration.rollback_record import record_rollback
from tenant_migration.orchestration.session import Session, event_source, planned_table, session
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.rollback import (
    OPERATION,
    abort_rollback,
    attempt_one_table,
    begin_rollback,
    end_rollback,
    record_nothing_left,
)
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration.workflow.rollback_scope import RollbackScope, resolve_rollback

NAME = "rollback_all"
START_OP = "start_rollback"


@dataclass(frozen=True)
class Started:
    """What the first op hands to the others, in memory: all of them run in one process."""

    plan: Plan
    scope: RollbackScope
    run: Run | None
    """None: nothing is left to roll back."""
    verify: bool

    def has(self, name: str) -> bool:
        """Say whether the run has something to do in a table."""
        return self.run is not None and any(table.qualified_name == name for table in self.scope.tables)


def rollback_all_job(plan: Plan) -> dg.JobDefinition:
    """Return the job for the tables of a plan."""
    start = _start_op()
    finish = _finish_op()
    children: dict[str, list[str]] = defaultdict(list)
    for table in plan.tables:
        for parent in table.depends_on:
            children[parent].append(table.qualified_name)
    table_ops = {
        table.qualified_name: _table_op(table, has_children=bool(children[table.qualified_name]))
        for table in plan.tables
    }

    @dg.job(
        name=NAME,
        description="Takes back the migration of all tables for all tenants, children before parents. Rows "
        "that the application changed since are left alone and listed. `confirm` has to be the name of the "
        "database.",
        tags={"tenant_migration/scope": "all"},
    )
    def rollback_all() -> None:
        started = start()
        done: dict[str, Any] = {}
        for table in reversed(plan.tables):
            name = table.qualified_name
            waits_for = [done[child] for child in children[name]]
            done[name] = table_ops[name](started, waits_for) if waits_for else table_ops[name](started)
        finish(started, list(done.values()))

    return rollback_all


def _start_op() -> dg.OpDefinition:
    @dg.op(name=START_OP, description="Asks for the confirmation, refuses what cannot start, opens the run.")
    def start(
        context: dg.OpExecutionContext,
        config: RollbackAllConfig,
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
    ) -> Started:
        with session(context, database) as opened:
            with opened.attempt(OPERATION, tables=config.tables, tenants=config.tenants):
                _refuse_unconfirmed(opened, config.confirm)
                plan = opened.plan_to_read()
                opened.sync_partitions()
                scope = resolve_rollback(
                    opened.connection,
                    opened.config,
                    plan,
                    tables=config.tables or None,
                    tenants=config.tenants or None,
                    with_children=config.with_children,
                    drop_created=config.drop_created,
                    from_backup=config.from_backup,
                )
            if scope.nothing_left is not None:
                record_nothing_left(opened.connection, scope, actor=opened.actor)
                context.log.info(scope.nothing_left)
                return Started(plan, scope, None, config.verify)
            run = begin_rollback(
                opened.connection,
                opened.config,
                plan,
                scope,
                actor=opened.actor,
                dagster_run_id=context.run_id,
            )
            open_run.opened(run, database, abort_rollback)
        return Started(plan, scope, run, config.verify)

    return start


def _refuse_unconfirmed(opened: Session, confirm: str) -> None:
    [(name,)] = opened.connection.execute("SELECT current_database()")
    if confirm != name:
        raise Refused(f"nothing was taken back: `confirm` is {confirm!r}, and this database is {name!r}")


def _table_op(table: TablePlan, *, has_children: bool) -> dg.OpDefinition:
    name = table.qualified_name
    key = table_key(table)
    inputs = {"started": dg.In(Started)}
    if has_children:
        inputs["children"] = dg.In(dg.Nothing)

    @dg.op(
        name=f"roll_back__{op_name(table)}",
        description=f"Takes back {name} for all tenants.",
        ins=inputs,
        out={"result": dg.Out(dg.Any)},
        tags={"dagster/priority": str(table.position)},  # of those that could start, the plan's last
    )
    def roll_back_one_table(
        context: dg.OpExecutionContext,
        started: Started,
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
    ) -> Any:
        if not started.has(name):
            context.log.info(f"nothing to do in {name}")
            return None
        if open_run.reason is not None:
            raise dg.Failure(f"{name} was not started: {open_run.reason}", allow_retries=False)
        try:
            outcome = _roll_back(context, started, database, name)
            record_rollback(context.instance, event_source(context), key, outcome)
        except BaseException as error:  # interrupts of Dagster's too
            open_run.stopped(error)
            raise
        context.add_output_metadata(recovery_metadata.of_rollback(outcome))
        listener = listener_of(context.run.tags)
        if listener is not None:
            listener.rollbacks.append(outcome)
        if outcome.state != "rolled_back":
            context.log.error(f"{name}: {outcome.state}: {outcome.reason}")
        return outcome

    return roll_back_one_table


def _roll_back(
    context: dg.OpExecutionContext, started: Started, database: Database, name: str
) -> RollbackOutcome:
    assert started.run is not None  # noqa: S101 - `has` is false of every table then
    with session(context, database) as opened:
        return attempt_one_table(
            opened.connection,
            opened.config,
            started.plan,
            planned_table(started.plan, name),
            scope=started.scope,
            run=started.run,
            verify=started.verify,
            progress=opened.progress,
        )


def _finish_op() -> dg.OpDefinition:
    @dg.op(
        name="finish_rollback",
        description="Closes the run; fails it with the list of tables that are not rolled back.",
        ins={"started": dg.In(Started), "results": dg.In(list)},
        out={"result": dg.Out(dg.Nothing)},
    )
    def finish(
        context: dg.OpExecutionContext,
        started: Started,
        results: list[Any],
        database: Database,
        open_run: dg.ResourceParam[OpenRun],
    ) -> None:
        if started.run is None:
            return
        outcomes = [result for result in results if isinstance(result, RollbackOutcome)]
        with session(context, database) as opened:
            end_rollback(opened.connection, started.run, outcomes)
            open_run.closed()
        report(context, outcomes)

    return finish
