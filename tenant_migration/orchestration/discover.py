"""The job `discover`: reads the database, stores the plan, writes the file of the definitions."""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

import dagster as dg

from tenant_migration.orchestration import metadata, plan_file
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import session
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.counted import counted
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.prepare import refuse_database_hazards

_DESCRIPTION = (
    "Finds the tables that carry the tenant key, stores the plan and makes the tenants' partitions. Start it "
    "once, and again after the tables changed; then reload this code location (Deployment, Code locations)."
)
_WITHOUT_PLAN = "There is no plan yet, so there is nothing here to migrate. "


def discover_job(*, has_plan: bool) -> dg.JobDefinition:
    """Return the job; without a plan it says that it is what to do first."""

    @dg.job(name="discover", description=_DESCRIPTION if has_plan else _WITHOUT_PLAN + _DESCRIPTION)
    def discover() -> None:
        store_new_plan()

    return discover


@dg.op(name="store_new_plan", out={"result": dg.Out(dg.Nothing)})
def store_new_plan(context: dg.OpExecutionContext, database: Database) -> None:
    """Build the plan from the database as it is now and store it."""
    with session(context, database) as opened, opened.attempt("plan"):
        opened.sync_partitions()
        plan = build_plan(opened.connection, opened.config)
        refuse_database_hazards(plan)
        store_plan(opened.connection, plan, opened.actor)
    path = plan_file.write(plan)
    context.add_output_metadata({"path": dg.MetadataValue.path(path), "tables": metadata.plan_table(plan)})
    context.log.info(
        f"{counted(len(plan.tables), 'table')} in the plan; reload the code location to see them"
    )
