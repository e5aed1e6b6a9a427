"""The schedules. What deletes does not start by itself: a person turns it on in the UI."""

from __future__ import annotations

import dagster as dg

from tenant_migration.orchestration.backup_jobs import BACKUP_CLEANUP
from tenant_migration.planning.model import Plan

CLEANUP_CRON = "30 3 * * *"
"""Every night at 3:30, in the time zone below."""
TIME_ZONE = "UTC"


def schedules(plan: Plan | None) -> list[dg.ScheduleDefinition]:
    """Return the schedules; without a plan there is nothing to clean up."""
    if plan is None or not plan.tables:
        return []
    return [
        dg.ScheduleDefinition(
            name="backup_cleanup_nightly",
            job_name=BACKUP_CLEANUP,
            cron_schedule=CLEANUP_CRON,
            execution_timezone=TIME_ZONE,
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description="Drops every night what is older than `backups.retention_days` of the configuration "
            "file and needed by nothing. It is off until somebody turns it on, because it deletes.",
        )
    ]
