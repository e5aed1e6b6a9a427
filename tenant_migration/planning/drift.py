"""Whether a table, and the configuration of the whole database, still are what the plan was made for."""

from __future__ import annotations

from typing import Any

import psycopg

from tenant_migration.catalog.model import Table
from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig, TableConfig
from tenant_migration.errors import PlanOutdated
from tenant_migration.planning.created import read_created_objects
from tenant_migration.planning.facts import facts_hash, table_facts
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.settings import table_settings

_SHOWN = 10


def refuse_if_changed(connection: psycopg.Connection[Any], config: MigrationConfig, table: TablePlan) -> None:
    """Compare the table and its configuration with the facts of its plan. Reads this table alone.

    Raises:
        PlanOutdated: the table is gone, or a fact came or went; the message lists which.
    """
    catalog = read_catalog(connection, config, only=[table.name])
    found = catalog.table(table.name)
    if found is None:
        raise PlanOutdated(
            f"{table.qualified_name} does not exist any more: run `tenant-migration plan --write`"
        )
    table_config = _config_of(config, table)
    facts = table_facts(
        found,
        [key for key in catalog.foreign_keys if key.child == table.name],
        tenant_column=_tenant_column(found, table_config, config, planned=table.tenant_column.name),
        organization_column=table_config.organization_id_column or config.organization_column,
        settings=table_settings(config.defaults, table_config),
        dependencies=table_config.dependencies,
        created=read_created_objects(connection),
    )
    if facts_hash(facts) == table.table_hash:
        return
    planned, now = set(table.facts), set(facts)
    differences = [f"  gone: {fact}" for fact in sorted(planned - now)]
    differences += [f"  new: {fact}" for fact in sorted(now - planned)]
    shown = "\n".join(differences[:_SHOWN])
    more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    raise PlanOutdated(
        f"{table.qualified_name} changed since its plan was stored:\n{shown}{more}\n"
        "Look at `tenant-migration plan`, then store the new one with `tenant-migration plan --write`."
    )


def refuse_if_configuration_changed(config: MigrationConfig, plan: Plan) -> None:
    """Compare what the configuration says of the whole database with what it said when the plan was made.

    Tenants that may stay without a mapping are no part of that: each run goes by the configuration as it is.

    Raises:
        PlanOutdated: they differ; the message lists how.
    """
    organizations, planned = config.organizations, plan.organizations
    table = f"{planned.schema_name}.{planned.table_name}"
    is_same_table = organizations.table == table or (
        planned.schema_name == plan.interface_schema and organizations.table == planned.table_name
    )
    was_and_is: dict[str, tuple[object, object]] = {
        "organizations.table": (table, table if is_same_table else organizations.table),
        "organizations.id": (planned.id_column, organizations.id),
        # One that the table does not have is not in the plan.
        "organizations.parent_id": (
            planned.parent_id_column or organizations.parent_id,
            organizations.parent_id,
        ),
        "organizations.active": (planned.active_column, organizations.active),
        "tenant_key_columns": (list(plan.tenant_key_columns), list(config.tenant_key_columns)),
    }
    differences = [
        f"  {name}: was {was!r}, is {now!r}" for name, (was, now) in was_and_is.items() if was != now
    ]
    if differences:
        raise PlanOutdated(
            "the configuration changed since the plan was stored:\n" + "\n".join(differences) + "\n"
            "Look at `tenant-migration plan`, then store the new one with `tenant-migration plan --write`."
        )


def _config_of(config: MigrationConfig, table: TablePlan) -> TableConfig:
    """Return what the configuration says of it, under `schema.table` or its bare name, as discovery does."""
    own = config.tables.get(table.qualified_name)
    if own is None and table.schema_name == config.interface_schema:
        own = config.tables.get(table.table_name)
    return own or TableConfig()


def _tenant_column(table: Table, table_config: TableConfig, config: MigrationConfig, *, planned: str) -> str:
    """Return the key that discovery would find now; one found by foreign key only has to exist."""
    by_name = next((key for key in config.tenant_key_columns if table.column(key)), planned)
    column = table_config.tenant_id_column or by_name
    return column if table.column(column) else f"{column}, which is missing"
