"""References from managed tables to managed tables, declared or configured."""

from __future__ import annotations

from tenant_migration.catalog.model import Catalog, Table, TableName
from tenant_migration.config import MigrationConfig, RelationConfig
from tenant_migration.errors import ConfigurationError
from tenant_migration.planning.discovery import Discovery
from tenant_migration.planning.model import Relation
from tenant_migration.planning.names import nearest_column


def managed_relations(
    catalog: Catalog, discovery: Discovery, config: MigrationConfig
) -> tuple[Relation, ...]:
    """List the references whose two ends are managed, in order of child and name.

    Raises:
        UnknownTable: a configured relation names a table that does not exist.
        ConfigurationError: it names a table that is not managed, or columns that do not fit the parent's key.
    """
    managed = {found.name: found.table for found in discovery.managed}
    declared = [
        Relation(
            name=key.name,
            child=str(key.child),
            child_columns=key.child_columns,
            parent=str(key.parent),
            parent_columns=key.parent_columns,
            source="foreign_key",
            validated=key.validated,
        )
        for key in catalog.foreign_keys
        if key.whole and key.child in managed and key.parent in managed
    ]
    configured = [
        _configured(relation, f"validation.relations.{position}", discovery, managed)
        for position, relation in enumerate(config.validation.relations)
    ]
    return tuple(sorted([*declared, *configured], key=lambda relation: (relation.child, relation.name)))


def _configured(
    relation: RelationConfig, where: str, discovery: Discovery, managed: dict[TableName, Table]
) -> Relation:
    child, parent = (
        discovery.names.require(text, where=f"{where}.{end}")
        for end, text in (("child", relation.child), ("parent", relation.parent))
    )
    for end, name in (("child", child), ("parent", parent)):
        if name not in managed:
            raise ConfigurationError(
                f"{where}.{end}: {name} carries no tenant key, so it is not managed; "
                "name a managed table, or give it a `tenant_id_column`"
            )
    columns = [column.name for column in managed[child].columns]
    for column in relation.columns:
        if column not in columns:
            raise ConfigurationError(
                f"{where}.columns: {child} has no column {column!r}{nearest_column(column, columns)}"
            )
    primary_key = managed[parent].primary_key
    if len(primary_key) != len(relation.columns):
        raise ConfigurationError(
            f"{where}.columns: {parent} is referred to by its primary key "
            f"({', '.join(primary_key) or 'it has none'}), but {len(relation.columns)} column(s) are given"
        )
    return Relation(
        name=f"{'_'.join(relation.columns)}_to_{parent}",
        child=str(child),
        child_columns=tuple(relation.columns),
        parent=str(parent),
        parent_columns=primary_key,
        source="configuration",
        validated=False,
    )
