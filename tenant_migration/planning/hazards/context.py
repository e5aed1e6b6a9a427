"""What a hazard function is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tenant_migration.catalog.model import Catalog, Column, ForeignKey, Table, TableName
from tenant_migration.config import MigrationConfig
from tenant_migration.planning.created import CreatedObjects
from tenant_migration.planning.discovery import Discovery, ManagedTable
from tenant_migration.planning.model import Hazard, HazardLevel, TableSettings
from tenant_migration.planning.organizations import Organizations
from tenant_migration.planning.tenant_values import MappingVisibility, TenantValues


@dataclass(frozen=True)
class DatabaseContext:
    """What is known of the database as a whole."""

    catalog: Catalog
    config: MigrationConfig
    discovery: Discovery
    organizations: Organizations
    created: CreatedObjects
    mapping: MappingVisibility

    @property
    def mapping_known(self) -> bool:
        """Whether rows can be compared with the mapping."""
        return self.mapping == "readable"

    @cached_property
    def managed_tables(self) -> dict[TableName, Table]:
        """The tables that carry the key, by name."""
        return {found.name: found.table for found in self.discovery.managed}

    @cached_property
    def _foreign_keys_by_parent(self) -> dict[TableName, list[ForeignKey]]:
        by_parent: dict[TableName, list[ForeignKey]] = {}
        for key in self.catalog.foreign_keys:
            by_parent.setdefault(key.parent, []).append(key)
        return by_parent

    def foreign_keys_to(self, name: TableName) -> tuple[ForeignKey, ...]:
        """Return the foreign keys that refer to this table."""
        return tuple(self._foreign_keys_by_parent.get(name, ()))


@dataclass(frozen=True)
class TableContext:
    """What is known of one managed table."""

    database: DatabaseContext
    managed: ManagedTable
    settings: TableSettings
    foreign_keys: tuple[ForeignKey, ...]
    """Those that the table declares."""
    values: TenantValues | None
    """What the grouped scan found; None: it was not asked for."""

    @property
    def table(self) -> Table:
        """The table itself."""
        return self.managed.table

    @property
    def name(self) -> str:
        """`schema.table`."""
        return str(self.managed.name)

    @property
    def sql_name(self) -> str:
        """The table as SQL."""
        return quoted(self.managed.name.schema, self.managed.name.name)

    @property
    def organization_column(self) -> str:
        """Name of the column to fill."""
        return self.managed.organization_column

    @property
    def existing_column(self) -> Column | None:
        """The organization column where it is there already."""
        return self.table.column(self.organization_column)

    @property
    def usable_column(self) -> Column | None:
        """The organization column where it is there already and can hold an organization."""
        column = self.existing_column
        fits = column is not None and column.base_type == "pg_catalog.uuid" and not column.generated
        return column if fits else None

    @property
    def relations(self) -> tuple[str, ...]:
        """The root and its leaves, as text."""
        return (self.name, *(str(leaf.name) for leaf in self.table.leaves))

    @property
    def column_is_ours(self) -> bool:
        """Whether the tool made the organization column."""
        return self.database.created.has("column", self.organization_column, self.relations)


def quoted(*parts: str) -> str:
    """Return a name as SQL that a person can paste: every part in double quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def refuse(name: str, detail: str, way_out: str) -> Hazard:
    """Build a hazard that keeps the table from starting."""
    return Hazard(name=name, level=HazardLevel.REFUSE, detail=detail, way_out=way_out)


def warn(name: str, detail: str, way_out: str) -> Hazard:
    """Build a hazard that the reader should know."""
    return Hazard(name=name, level=HazardLevel.WARN, detail=detail, way_out=way_out)


def info(name: str, detail: str, way_out: str) -> Hazard:
    """Build a hazard that only tells."""
    return Hazard(name=name, level=HazardLevel.INFO, detail=detail, way_out=way_out)
