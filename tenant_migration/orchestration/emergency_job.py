"""The job `emergency_rollback`: the emergency stop, for whoever is in the UI when it is needed.

It waits for no place in the queue: it belongs to no tenant and no pool. With Dagster down the command line
does the same: `tenant-migration rollback --emergency`.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

import dagster as dg

from tenant_migration.orchestration import recovery_metadata
from tenant_migration.orchestration.config import EmergencyRollbackConfig
from tenant_migration.orchestration.names import qualified_key
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.rollback_record import record_rollback
from tenant_migration.orchestration.session import event_source, session
from tenant_migration.orchestration.stop_runs import cancel_runs
from tenant_migration.planning.model import Plan
from tenant_migration.workflow.emergency import emergency_rollback
from tenant_migration.workflow.emergency_outcome import EmergencyOutcome

NAME = "emergency_rollback"


def emergency_job(plan: Plan) -> dg.JobDefinition:
    """Return the job."""
    op = _emergency_op(plan)

    @dg.job(
        name=NAME,
        description="EMERGENCY: stops every migration within seconds, lets none start until "
        "`tenant-migration resume`, and takes everything back. It asks nothing.",
        tags={"dagster/priority": "1000"},
    )
    def emergency() -> None:
        op()

    return emergency


def _emergency_op(plan: Plan) -> dg.OpDefinition:
    @dg.op(
        name="stop_and_take_back",
        description="Stops everything, takes everything back, says what is where.",
        out={"result": dg.Out(dg.Nothing)},
    )
    def stop_and_take_back(
        context: dg.OpExecutionContext, config: EmergencyRollbackConfig, database: Database
    ) -> None:
        outcome = _stop(context, config, database)
        source = event_source(context)
        for table in outcome.rollback:
            record_rollback(context.instance, source, qualified_key(table.table, plan), table)
        described = recovery_metadata.of_emergency(outcome)
        if outcome.left:
            left = "\n".join(f"  {line}" for line in outcome.left)
            raise dg.Failure(f"something is left:\n{left}", metadata=described, allow_retries=False)
        context.add_output_metadata(described)

    return stop_and_take_back


def _stop(
    context: dg.OpExecutionContext, config: EmergencyRollbackConfig, database: Database
) -> EmergencyOutcome:
    with session(context, database) as opened:
        return emergency_rollback(
            opened.connection,
            opened.config,
            actor=opened.actor,
            reason=config.reason or None,
            progress=opened.progress,
            on_step=lambda step: context.log.info(f"{step.name}: {step.outcome}: {'; '.join(step.lines)}"),
            dagster_run_id=context.run_id,
            stop_dagster=lambda: cancel_runs(context.instance, but=context.run_id),
        )
