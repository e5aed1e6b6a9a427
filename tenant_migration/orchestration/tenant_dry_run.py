"""The job `dry_run`: what a migration of one tenant would do, as observations. Nothing turns green by it."""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

import dagster as dg

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.results import DryRunTable
from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.config import TablesConfig
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.record import Recorder
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import event_source, session
from tenant_migration.planning.model import TablePlan
from tenant_migration.workflow.migrate import resolve_scope


def dry_run_job() -> dg.JobDefinition:
    """Return the job. It takes its tables from the stored plan when it runs."""

    @dg.job(
        name="dry_run",
        description="Says what a migration of one tenant would do, table by table. Changes nothing.",
        partitions_def=tenants_partitions,
    )
    def dry_run() -> None:
        dry_run_tables()

    return dry_run


@dg.op(name="dry_run_tables", out={"result": dg.Out(dg.Nothing)})
def dry_run_tables(context: dg.OpExecutionContext, config: TablesConfig, database: Database) -> None:
    """Count what would be done to each table for one tenant."""
    results = _dry_run(context, config, database)
    source = event_source(context)
    for table, result in results:
        Recorder(context.instance, source, table_key(table)).dry_run(result)
    context.add_output_metadata({"tables": metadata.dry_run_table([result for _, result in results])})
    refusals = [f"  {result.table}: {refusal}" for _, result in results for refusal in result.refusals]
    if refusals:
        raise dg.Failure("the real run would not start:\n" + "\n".join(refusals), allow_retries=False)


def _dry_run(
    context: dg.OpExecutionContext, config: TablesConfig, database: Database
) -> list[tuple[TablePlan, DryRunTable]]:
    with session(context, database, writes=False) as opened:
        plan = opened.plan_to_read()
        scope = resolve_scope(
            opened.connection,
            opened.config,
            plan,
            tables=config.tables or None,
            tenants=[tenant_id(context.partition_key)],
            dry_run=True,
        )
        return [
            (table, dry_run_table(opened.connection, plan, table, tenants=scope.tenants))
            for table in scope.tables
        ]
