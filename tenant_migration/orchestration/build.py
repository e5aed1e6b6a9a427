"""Puts the definitions together. No database is asked and no environment is read here."""

from __future__ import annotations

import dagster as dg

from tenant_migration.config import ScheduleConfig
from tenant_migration.orchestration.assets import table_assets
from tenant_migration.orchestration.external import external_specs, mapping_checks
from tenant_migration.orchestration.jobs import jobs
from tenant_migration.orchestration.open_run import open_run_resource
from tenant_migration.orchestration.recording import recording_resource
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.schedules import schedules
from tenant_migration.orchestration.sensors import sensors
from tenant_migration.planning.model import Plan


def build_definitions(plan: Plan | None, when: ScheduleConfig | None = None) -> dg.Definitions:
    """Return the definitions for a plan; without one the only job is the one that makes it.

    Args:
        plan: the plan.
        when: when the schedules start; None: the defaults.
    """
    assets: list[dg.AssetSpec | dg.AssetsDefinition] = (
        [] if plan is None else [*external_specs(plan), *table_assets(plan)]
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=[] if plan is None else mapping_checks(plan),
        jobs=jobs(plan),
        schedules=schedules(plan, when or ScheduleConfig()),
        sensors=sensors(plan),
        resources={
            "database": Database(),
            "open_run": open_run_resource,
            "recording": recording_resource,
            # What ops hand to each other stays in memory: a run is one process, and nothing is to be pickled.
            "io_manager": dg.mem_io_manager,
        },
        executor=dg.in_process_executor,
    )
