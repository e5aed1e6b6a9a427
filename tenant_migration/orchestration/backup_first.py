"""What an op does before it migrates, unless told to skip it: a backup, or naming the one that covers it."""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.orchestration.session import Session
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.backup_first import back_up_first
from tenant_migration.workflow.migrate import Scope


def back_up_before(
    opened: Session, plan: Plan, scope: Scope, *, run_tables: Sequence[TablePlan] = ()
) -> None:
    """Back up, and say so in the run's log and to whoever listens.

    Args:
        opened: the op's session.
        plan: the stored plan.
        scope: what is about to be migrated.
        run_tables: tables that other ops of the same run migrate.
    """
    first = back_up_first(
        opened.connection,
        opened.config,
        plan,
        scope,
        actor=opened.actor,
        run_tables=run_tables,
        progress=opened.progress,
        dagster_run_id=opened.context.run_id,
    )
    opened.context.log.info(str(first))
    if opened.listener is not None and opened.listener.on_backup is not None:
        opened.listener.on_backup(first)
