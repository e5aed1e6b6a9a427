"""The job `rollback`: one tenant's rows get back what they had. Choosing partitions is the confirmation.

Over everything: `rollback_all`.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

import dagster as dg

from tenant_migration.orchestration import recovery_metadata
from tenant_migration.orchestration.config import RollbackConfig
from tenant_migration.orchestration.names import qualified_key
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.rollback_record import record_rollback
from tenant_migration.orchestration.session import event_source, session
from tenant_migration.planning.model import Plan
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome


def rollback_job() -> dg.JobDefinition:
    """Return the job. It takes its tables from the stored plan when it runs."""

    @dg.job(
        name="rollback",
        description="Takes back the migration of one tenant, children before parents: each row gets the "
        "value that it had before. Rows that the application changed since are left alone and listed. For "
        "many tenants launch a backfill over them.",
        partitions_def=tenants_partitions,
    )
    def rollback_tenant() -> None:
        roll_back_tenant()

    return rollback_tenant


@dg.op(name="roll_back_tenant", out={"result": dg.Out(dg.Nothing)})
def roll_back_tenant(context: dg.OpExecutionContext, config: RollbackConfig, database: Database) -> None:
    """Take back one tenant's rows of every table, or of some."""
    plan, outcomes = _roll_back(context, config, database)
    if not outcomes:
        context.log.info("nothing is left to roll back")
    source = event_source(context)
    for outcome in outcomes:
        record_rollback(context.instance, source, qualified_key(outcome.table, plan), outcome)
    report(context, outcomes)


def _roll_back(
    context: dg.OpExecutionContext, config: RollbackConfig, database: Database
) -> tuple[Plan, list[RollbackOutcome]]:
    tenants = [tenant_id(context.partition_key)]
    with (
        session(context, database) as opened,
        opened.attempt("rollback", tables=config.tables, tenants=tenants),
    ):
        plan = opened.plan_to_read()
        opened.sync_partitions()
        outcomes = rollback(
            opened.connection,
            opened.config,
            plan,
            actor=opened.actor,
            tables=config.tables or None,
            tenants=tenants,
            with_children=config.with_children,
            from_backup=config.from_backup,
            verify=config.verify,
            progress=opened.progress,
            dagster_run_id=context.run_id,
        )
    return plan, outcomes


def report(context: dg.OpExecutionContext, outcomes: list[RollbackOutcome]) -> None:
    """Show every table's counts and the rows that were left alone; fail when something is not rolled back."""
    described = recovery_metadata.of_rollbacks(outcomes)
    failed = [outcome for outcome in outcomes if outcome.state != "rolled_back"]
    if failed:
        lines = "\n".join(f"  {outcome.table}: {outcome.state}: {outcome.reason}" for outcome in failed)
        raise dg.Failure(f"not rolled back:\n{lines}", metadata=described, allow_retries=False)
    context.add_output_metadata(described)
