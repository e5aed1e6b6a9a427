"""The organizations table that the configuration names, resolved against the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from tenant_migration.catalog.model import Catalog, Table, TableName
from tenant_migration.config import MigrationConfig
from tenant_migration.planning.model import OrganizationsRef


@dataclass(frozen=True)
class Organizations:
    """Where organizations are, and the table if it exists."""

    ref: OrganizationsRef
    table: Table | None


def resolve_organizations(catalog: Catalog, config: MigrationConfig) -> Organizations:
    """Find the organizations table; optional columns that it does not have become None."""
    text = config.organizations.table
    table = next((table for table in catalog.tables if str(table.name) == text), None) or catalog.table(
        TableName(config.interface_schema, text)
    )
    schema, _, bare = text.rpartition(".")
    name = table.name if table else TableName(schema or config.interface_schema, bare)

    def existing(column: str | None) -> str | None:
        return column if table and column and table.column(column) else None

    return Organizations(
        ref=OrganizationsRef(
            schema_name=name.schema,
            table_name=name.name,
            id_column=config.organizations.id,
            parent_id_column=existing(config.organizations.parent_id),
            slug_column=existing(config.organizations.slug),
            name_column=existing(config.organizations.name),
            active_column=config.organizations.active,  # one that is missing is refused, not passed by
        ),
        table=table,
    )
