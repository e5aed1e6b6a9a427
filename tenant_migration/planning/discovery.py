"""Which tables carry the tenant key.

A table is managed when one of these holds, in this order:

1. **Configuration**: `tables."schema.table".tenant_id_column` names its key.
2. **Name**: it has a column called exactly as one of `tenant_key_columns` (case counts). With several of them
   the first of the list is planned, and a hazard refuses the table until `tenant_id_column` says which.
3. **Foreign key**: it has none of those names, but a single-column foreign key to where tenants live. Tenants
   live in a (table, column) that a key found by 1 or 2 refers to with a single-column foreign key; the
   organizations table is never such a place, and the organization column never such a key.

Left out: tables with `exclude: true`, tables in schemas that `schemas` leaves out, the organizations table,
partitions (their root stands for them), and children by inheritance whose key is the parent's (the parent
stands for them).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tenant_migration.catalog.model import Catalog, Column, ForeignKey, Table, TableName
from tenant_migration.config import MigrationConfig, TableConfig
from tenant_migration.errors import ConfigurationError
from tenant_migration.planning.names import TableNames, nearest_column


@dataclass(frozen=True)
class ManagedTable:
    """A table that carries the tenant key."""

    table: Table
    tenant_column: Column
    organization_column: str
    config: TableConfig
    candidates: tuple[str, ...]
    """Every column that could be the key; more than one needs a decision."""
    found_by: str
    """`configuration`, `name` or `foreign key`."""

    @property
    def name(self) -> TableName:
        """Schema and name."""
        return self.table.name


@dataclass(frozen=True)
class Discovery:
    """What discovery found."""

    managed: tuple[ManagedTable, ...]
    """In order of name."""
    excluded: tuple[TableName, ...]
    """Tables with the key that the configuration leaves out."""
    tenant_homes: frozenset[tuple[TableName, str]]
    """The (table, column) pairs in which tenants live."""
    names: TableNames
    configs: dict[TableName, TableConfig] = field(default_factory=dict)


def discover(catalog: Catalog, config: MigrationConfig) -> Discovery:
    """Find the managed tables.

    Raises:
        UnknownTable: the configuration names a table that does not exist.
        ConfigurationError: it names a column that does not exist, a table without a key, a table twice, or a
            table in a schema that it leaves out.
    """
    names = TableNames((table.name for table in catalog.tables), interface_schema=config.interface_schema)
    configs = _configs(config, names)
    organizations = names.find(config.organizations.table)
    tables = {table.name: table for table in catalog.tables if table.name != organizations}
    keys = _keys_by_name(tables, configs, config)
    foreign_keys = _single_column_keys(catalog, organizations)
    homes = frozenset(
        (key.parent, key.parent_columns[0])
        for name, (columns, _) in keys.items()
        for key in foreign_keys.get(name, ())
        if key.child_columns[0] == columns[0]
    )
    for name, table in tables.items():
        if name not in keys:
            columns = _keys_by_foreign_key(table, foreign_keys.get(name, ()), homes, configs, config)
            if columns:
                keys[name] = (columns, "foreign key")
    _refuse_configured_without_key(configs, keys, tables, organizations)

    excluded = {name for name in keys if _is_excluded(name, configs, config)}
    managed = tuple(
        _managed(tables[name], keys[name], configs.get(name, TableConfig()), config)
        for name in sorted(keys)
        if name not in excluded
    )
    return Discovery(
        managed=managed,
        excluded=tuple(sorted(excluded)),
        tenant_homes=homes,
        names=names,
        configs=configs,
    )


def _configs(config: MigrationConfig, names: TableNames) -> dict[TableName, TableConfig]:
    configs: dict[TableName, TableConfig] = {}
    for text, table in config.tables.items():
        name = names.require(text, where="tables")
        if name in configs:
            raise ConfigurationError(f"tables: {name} is there twice; keep one entry for it")
        if not table.exclude and _schema_is_left_out(name, config):
            raise ConfigurationError(
                f"tables.{text}: its schema {name.schema!r} is left out by `schemas`; "
                "include the schema, or set `exclude: true`"
            )
        configs[name] = table
    return configs


def _keys_by_name(
    tables: dict[TableName, Table], configs: dict[TableName, TableConfig], config: MigrationConfig
) -> dict[TableName, tuple[tuple[str, ...], str]]:
    keys: dict[TableName, tuple[tuple[str, ...], str]] = {}
    for name, table in tables.items():
        configured = configs.get(name, TableConfig()).tenant_id_column
        columns = [column.name for column in table.columns]
        inherited = {column.name for column in table.columns if column.inherited}
        if configured is not None:
            if configured in inherited:
                continue
            if configured not in columns:
                raise ConfigurationError(
                    f"tables.{name}.tenant_id_column: {name} has no column {configured!r}"
                    f"{nearest_column(configured, columns)}"
                )
            keys[name] = ((configured,), "configuration")
            continue
        found = tuple(key for key in config.tenant_key_columns if key in columns and key not in inherited)
        if found:
            keys[name] = (found, "name")
    return keys


def _single_column_keys(
    catalog: Catalog, organizations: TableName | None
) -> dict[TableName, list[ForeignKey]]:
    by_child: dict[TableName, list[ForeignKey]] = defaultdict(list)
    for key in catalog.foreign_keys:
        if len(key.child_columns) == 1 and key.parent != organizations:
            by_child[key.child].append(key)
    return by_child


def _keys_by_foreign_key(
    table: Table,
    foreign_keys: list[ForeignKey] | tuple[()],
    homes: frozenset[tuple[TableName, str]],
    configs: dict[TableName, TableConfig],
    config: MigrationConfig,
) -> tuple[str, ...]:
    organization_column = (
        configs.get(table.name, TableConfig()).organization_id_column or config.organization_column
    )
    found = {
        key.child_columns[0]
        for key in foreign_keys
        # the home's own column that points to itself is the hierarchy of tenants, not a tenant key
        if (key.parent, key.parent_columns[0]) in homes and key.parent != table.name
    }
    return tuple(
        column.name
        for column in table.columns
        if column.name in found - {organization_column} and not column.inherited
    )


def _refuse_configured_without_key(
    configs: dict[TableName, TableConfig],
    keys: dict[TableName, tuple[tuple[str, ...], str]],
    tables: dict[TableName, Table],
    organizations: TableName | None,
) -> None:
    for name, table_config in configs.items():
        if table_config.exclude or name in keys:
            continue
        if name == organizations:
            raise ConfigurationError(f"tables.{name}: this is the organizations table; it is not migrated")
        if tables[name].kind == "inheritance child":
            raise ConfigurationError(f"tables.{name}: it inherits from another table; configure its parent")
        raise ConfigurationError(
            f"tables.{name}: it has no tenant key; say which column it is with `tenant_id_column`, "
            "or take the entry out"
        )


def _schema_is_left_out(name: TableName, config: MigrationConfig) -> bool:
    included = not config.schemas.include or name.schema in config.schemas.include
    return not included or name.schema in config.schemas.exclude


def _is_excluded(name: TableName, configs: dict[TableName, TableConfig], config: MigrationConfig) -> bool:
    return configs.get(name, TableConfig()).exclude or _schema_is_left_out(name, config)


def _managed(
    table: Table, key: tuple[tuple[str, ...], str], table_config: TableConfig, config: MigrationConfig
) -> ManagedTable:
    columns, found_by = key
    tenant_column = table.column(columns[0])
    assert tenant_column is not None  # noqa: S101 - found among the table's columns just now
    organization_column = table_config.organization_id_column or config.organization_column
    if organization_column == tenant_column.name:
        raise ConfigurationError(
            f"tables.{table.name}: {organization_column!r} cannot be both the tenant key and the "
            "organization column; set `organization_id_column` to another name"
        )
    return ManagedTable(
        table=table,
        tenant_column=tenant_column,
        organization_column=organization_column,
        config=table_config,
        candidates=columns,
        found_by=found_by,
    )
