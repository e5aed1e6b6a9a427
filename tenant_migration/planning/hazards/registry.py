"""Every hazard that is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tenant_migration.planning.hazards import (
    constraints,
    dependents,
    organization_column,
    organizations,
    replication,
    rights,
    row_security,
    server,
    storage,
    tenant_key,
    triggers,
)
from tenant_migration.planning.hazards.context import DatabaseContext, TableContext
from tenant_migration.planning.model import Hazard, HazardLevel

TABLE_HAZARDS: tuple[Callable[[TableContext], Iterator[Hazard]], ...] = (
    tenant_key.several_keys,
    tenant_key.key_type,
    rights.rights,
    row_security.row_security,
    storage.foreign_storage,
    storage.inheritance,
    organization_column.organization_column_type,
    organization_column.organization_column_meaning,
    organization_column.existing_values,
    constraints.cascades,
    replication.publications,
    triggers.update_rules,
    triggers.application_triggers,
    tenant_key.row_values,
    tenant_key.missing_index,
    organization_column.organization_column_habits,
    constraints.composite_keys,
    constraints.not_valid_constraints,
    constraints.generated_columns,
    constraints.deferrable_constraints,
    storage.unlogged,
    storage.no_row_identity,
)
DATABASE_HAZARDS: tuple[Callable[[DatabaseContext], Iterator[Hazard]], ...] = (
    server.standby,
    server.no_tables,
    organizations.organizations_table,
    organizations.organizations_rights,
    organizations.organizations_active_column,
    row_security.row_security_of_organizations,
    server.ambiguous_names,
    tenant_key.mapping_unknown,
    organizations.organizations_optional_columns,
    server.event_triggers,
    dependents.dependents,
)

_ORDER = {HazardLevel.REFUSE: 0, HazardLevel.WARN: 1, HazardLevel.INFO: 2}


def table_hazards(context: TableContext) -> tuple[Hazard, ...]:
    """Look for every hazard of one table; what refuses comes first."""
    return _sorted(hazard for find in TABLE_HAZARDS for hazard in find(context))


def database_hazards(context: DatabaseContext) -> tuple[Hazard, ...]:
    """Look for every hazard of the database as a whole; what refuses comes first."""
    return _sorted(hazard for find in DATABASE_HAZARDS for hazard in find(context))


def _sorted(hazards: Iterator[Hazard]) -> tuple[Hazard, ...]:
    return tuple(sorted(hazards, key=lambda hazard: _ORDER[hazard.level]))
