"""Before an operation: a supported server, the installed schema, and the stored plan."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed
from tenant_migration.errors import NoPlan, Refused
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.workflow.selection import select_tables, select_tenants


def find_or_build_plan(connection: psycopg.Connection, config: MigrationConfig) -> tuple[Plan, bool]:
    """Return the stored plan, else the one that would be stored; and whether it is stored. Reads only.

    Tenants that may stay without a mapping are those of the configuration as it is now.

    Raises:
        NotInstalled: the private schema is missing.
        Refused: it is installed for another interface schema, or the database as a whole cannot be migrated
            (the plan's own hazards).
    """
    require_installed(connection, config)
    try:
        allowed = tuple(config.validation.allowed_unmapped_tenants)
        return load_plan(connection).model_copy(update={"allowed_unmapped_tenants": allowed}), True
    except NoPlan:
        plan = build_plan(connection, config)
    refuse_database_hazards(plan)
    return plan, False


def stored_or_new_plan(
    connection: psycopg.Connection,
    config: MigrationConfig,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
) -> Plan:
    """Return the stored plan; make and store one when there is none yet.

    A stored plan is never replaced here: a table that changed since is refused when it is migrated, with the
    difference, and a person looks at it and stores a new plan with `plan --write`.

    Args:
        connection: to the database.
        config: settings.
        actor: who stores it.
        tables: what is asked for; a misspelt name stores nothing.
        tenants: as `tables`.

    Raises:
        UnsupportedServer: a standby, or too old.
        UnknownTable, UnknownTenant: a name that is not known.
        NotInstalled, Refused: as `find_or_build_plan`.
    """
    check_server(connection, writes=True)
    plan, is_stored = find_or_build_plan(connection, config)
    if not is_stored:
        select_tables(plan, tables)
        select_tenants(connection, config, tenants)
        store_plan(connection, plan, actor)
    return plan


def refuse_database_hazards(plan: Plan) -> None:
    """Raise Refused when a hazard of the whole database keeps every table from starting."""
    refusals = [hazard for hazard in plan.hazards if hazard.level is HazardLevel.REFUSE]
    if refusals:
        lines = "\n".join(f"  {hazard.detail}; {hazard.way_out}" for hazard in refusals)
        raise Refused(f"database {plan.database} cannot be migrated as it is:\n{lines}")
