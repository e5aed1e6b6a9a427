"""The schedules. None starts by itself: a person turns it on in the UI."""

from __future__ import annotations

import dagster as dg

from tenant_migration.config import ScheduleConfig
from tenant_migration.orchestration.backup_jobs import BACKUP_CLEANUP
from tenant_migration.orchestration.reports import VERIFY_ALL
from tenant_migration.planning.model import Plan

CLEANUP_CRON = "30 3 * * *"
"""Every night at 3:30, in the time zone below."""
TIME_ZONE = "UTC"


def schedules(plan: Plan | None, when: ScheduleConfig) -> list[dg.ScheduleDefinition]:
    """Return the schedules; without a plan there is nothing to clean up and nothing to verify."""
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
        ),
        dg.ScheduleDefinition(
            name="verification_nightly",
            job_name=VERIFY_ALL,
            cron_schedule=when.verification_cron,
            execution_timezone=TIME_ZONE,
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description="Verifies again what is recorded as migrated. A row that came to another tenant or "
            "organization since, or that is gone, fails the verification of that tenant's partition, and the "
            "run. It is off until somebody turns it on; `schedule.verification_cron` of the configuration "
            "file says when it runs, read when the code location loads.",
        ),
    ]
