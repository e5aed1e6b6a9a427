"""All jobs of the code location.

`migrate` is the asset job: any tables for one tenant, and what a backfill over tenants starts. The others are
jobs of ops, each in a file of its own.
"""

from __future__ import annotations

import dagster as dg

from tenant_migration.orchestration.backup_jobs import backup_jobs
from tenant_migration.orchestration.compat import AssetJob
from tenant_migration.orchestration.discover import discover_job
from tenant_migration.orchestration.emergency_job import emergency_job
from tenant_migration.orchestration.migrate_all import migrate_all_job
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.reports import report_jobs
from tenant_migration.orchestration.rollback_all import rollback_all_job
from tenant_migration.orchestration.rollback_jobs import rollback_job
from tenant_migration.orchestration.tenant_dry_run import dry_run_job
from tenant_migration.planning.model import Plan

MIGRATE = "migrate"


def jobs(plan: Plan | None) -> list[dg.JobDefinition | AssetJob]:
    """Return the jobs; without a plan only the one that makes it."""
    if plan is None or not plan.tables:
        return [discover_job(has_plan=False)]
    return [
        _migrate_job(plan),
        migrate_all_job(plan),
        dry_run_job(),
        *report_jobs(),
        *backup_jobs(),
        rollback_job(),
        rollback_all_job(plan),
        emergency_job(plan),
        discover_job(has_plan=True),
    ]


def _migrate_job(plan: Plan) -> AssetJob:
    return dg.define_asset_job(
        MIGRATE,
        selection=dg.AssetSelection.assets(*(table_key(table) for table in plan.tables)),
        description="Migrates all tables for one tenant, parents first. For many tenants launch a backfill, "
        "or use migrate_all, which reads each table once for all of them.",
    )
