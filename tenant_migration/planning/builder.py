"""Makes the plan from the catalog, the configuration and what the rows say. Reads only."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psycopg

from tenant_migration.catalog.model import Catalog, Column, ForeignKey, TableName
from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig
from tenant_migration.errors import ConfigurationError
from tenant_migration.planning.created import read_created_objects
from tenant_migration.planning.derivable import derivable_tables
from tenant_migration.planning.discovery import Discovery, ManagedTable, discover
from tenant_migration.planning.estimate import estimate
from tenant_migration.planning.facts import facts_hash, table_facts
from tenant_migration.planning.hazards.context import DatabaseContext, TableContext
from tenant_migration.planning.hazards.registry import database_hazards, table_hazards
from tenant_migration.planning.leading_index import leading_index
from tenant_migration.planning.model import ColumnRef, Plan, Relation, TablePlan
from tenant_migration.planning.order import components_in_order
from tenant_migration.planning.organizations import resolve_organizations
from tenant_migration.planning.relations import managed_relations
from tenant_migration.planning.settings import table_settings
from tenant_migration.planning.strategy import choose_strategy
from tenant_migration.planning.tenant_values import TenantValues, count_tenant_values, mapping_visibility
from tenant_migration.version import VERSION


def build_plan(
    connection: psycopg.Connection[Any], config: MigrationConfig, *, count_rows: bool = True
) -> Plan:
    """Make the plan of this database.

    Steps:
        1. Read the catalog in one snapshot, and what the tool created.
        2. Find the managed tables, their relations, and the order among them.
        3. Ask each table's rows about tenants, one grouped scan a table under a time limit.
        4. For each table: strategy, hazards, facts and their hash.

    Works under `default_transaction_read_only`, and without the private schema: then nothing is known of
    mappings.

    Args:
        connection: in autocommit mode.
        config: what to look for.
        count_rows: whether to do step 3.

    Raises:
        UnknownTable: the configuration names a table that does not exist.
        ConfigurationError: it names a column that does not exist, or contradicts itself.
        UnsupportedServer: older than PostgreSQL 15.
    """
    catalog = read_catalog(connection, config)
    created = read_created_objects(connection)
    discovery = discover(catalog, config)
    organizations = resolve_organizations(catalog, config)
    relations = managed_relations(catalog, discovery, config)
    dependencies = _dependencies(discovery)
    parents = _parents(catalog, discovery, relations, dependencies)
    foreign_keys = _by_child(catalog)
    database = DatabaseContext(
        catalog=catalog,
        config=config,
        discovery=discovery,
        organizations=organizations,
        created=created,
        mapping=mapping_visibility(connection, config.interface_schema),
    )
    values: dict[TableName, TenantValues] = (
        count_tenant_values(connection, discovery.managed, config, mapping_known=database.mapping_known)
        if count_rows
        else {}
    )

    managed = {str(found.name): found for found in discovery.managed}
    tables: list[TablePlan] = []
    for number, component in enumerate(components_in_order(parents)):
        for name in component.members:
            found = managed[name]
            tables.append(
                plan_table(
                    TableContext(
                        database=database,
                        managed=found,
                        settings=table_settings(config.defaults, found.config),
                        foreign_keys=tuple(foreign_keys.get(found.name, ())),
                        values=values.get(found.name),
                    ),
                    position=len(tables),
                    component=number,
                    parents=parents[name],
                    peers=tuple(peer for peer in component.members if peer != name),
                )
            )
    return Plan(
        tool_version=VERSION,
        database=catalog.server.database,
        server_version=catalog.server.version,
        interface_schema=config.interface_schema,
        organizations=organizations.ref,
        organization_column=config.organization_column,
        tenant_key_columns=tuple(config.tenant_key_columns),
        allowed_unmapped_tenants=tuple(config.validation.allowed_unmapped_tenants),
        tables=tuple(tables),
        relations=relations,
        hazards=database_hazards(database),
        excluded=tuple(str(name) for name in discovery.excluded),
        derivable=derivable_tables(
            catalog,
            [found.name for found in discovery.managed],
            {
                *discovery.excluded,
                *(name for name, _ in discovery.tenant_homes),
                *([organizations.table.name] if organizations.table else []),
            }
            - {found.name for found in discovery.managed},
        ),
    )


def plan_table(
    context: TableContext,
    *,
    position: int,
    component: int,
    parents: set[str],
    peers: tuple[str, ...],
) -> TablePlan:
    """Make one table's plan from what is known of it."""
    managed, table, settings = context.managed, context.table, context.settings
    organization_column = managed.organization_column
    strategy, reason = choose_strategy(table, organization_column, settings.build_index)
    facts = table_facts(
        table,
        context.foreign_keys,
        tenant_column=managed.tenant_column.name,
        organization_column=organization_column,
        settings=settings,
        dependencies=managed.config.dependencies,
        created=context.database.created,
    )
    block_size = context.database.catalog.server.block_size
    organizations = context.database.organizations
    return TablePlan(
        schema_name=managed.name.schema,
        table_name=managed.name.name,
        position=position,
        component=component,
        depends_on=tuple(sorted(parents - {*peers, str(managed.name)})),
        component_peers=peers,
        tenant_column=_ref(managed.tenant_column),
        organization_column=organization_column,
        organization_column_exists=context.existing_column is not None,
        key_columns=tuple(_ref(column) for column in _key_columns(managed)),
        preserved_columns=tuple(
            _ref(column)
            for column in table.columns
            if column.name != organization_column and not column.generated
        ),
        partitioned=table.kind == "partitioned",
        leaves=tuple(str(leaf.name) for leaf in table.leaves),
        tenant_index=leading_index(table, managed.tenant_column.name),
        organization_index_exists=leading_index(table, organization_column) is not None,
        organization_foreign_key_exists=any(
            key.child_columns == (organization_column,)
            and organizations.table is not None
            and key.parent == organizations.table.name
            for key in context.foreign_keys
        ),
        strategy=strategy,
        strategy_reason=reason,
        estimated_rows=table.estimated_rows,
        total_bytes=table.total_bytes,
        settings=settings,
        estimate=estimate(
            strategy,
            rows=_rows_to_write(context),
            heap_bytes=sum(leaf.pages for leaf in table.leaves) * block_size,
            index_count=len(table.indexes) + (1 if settings.build_index == "early" else 0),
        ),
        hazards=table_hazards(context),
        table_hash=facts_hash(facts),
        facts=facts,
    )


def _rows_to_write(context: TableContext) -> int | None:
    values = context.values
    if values is None or values.not_counted:
        return context.table.estimated_rows if context.table.estimated_rows >= 0 else None
    overwritten = values.differing_rows if context.settings.on_existing_value == "overwrite" else 0
    return values.waiting_rows + overwritten


def _key_columns(managed: ManagedTable) -> list[Column]:
    columns = [managed.table.column(name) for name in managed.table.row_identity]
    return [column for column in columns if column is not None]


def _ref(column: Column) -> ColumnRef:
    return ColumnRef(
        name=column.name,
        type_schema=column.type_schema,
        type_name=column.type_name,
        base_type=column.base_type,
        equality_schema=column.equality_schema,
    )


def _by_child(catalog: Catalog) -> dict[TableName, list[ForeignKey]]:
    by_child: dict[TableName, list[ForeignKey]] = defaultdict(list)
    for key in catalog.foreign_keys:
        by_child[key.child].append(key)
    return by_child


def _dependencies(discovery: Discovery) -> dict[str, tuple[str, ...]]:
    """Return each managed table's configured dependencies, resolved."""
    managed = {found.name for found in discovery.managed}
    dependencies: dict[str, tuple[str, ...]] = {}
    for found in discovery.managed:
        resolved = []
        for text in found.config.dependencies:
            where = f"tables.{found.name}.dependencies"
            name = discovery.names.require(text, where=where)
            if name not in managed:
                raise ConfigurationError(
                    f"{where}: {name} is not managed, so nothing can come after it; take it out"
                )
            resolved.append(str(name))
        dependencies[str(found.name)] = tuple(sorted(set(resolved)))
    return dependencies


def _parents(
    catalog: Catalog,
    discovery: Discovery,
    relations: tuple[Relation, ...],
    dependencies: dict[str, tuple[str, ...]],
) -> dict[str, set[str]]:
    """Return each table's managed parents: by foreign key (also of a partition), relation, dependency."""
    parents: dict[str, set[str]] = {str(found.name): set() for found in discovery.managed}
    for key in catalog.foreign_keys:
        if str(key.child) in parents and str(key.parent) in parents:
            parents[str(key.child)].add(str(key.parent))
    for relation in relations:
        parents[relation.child].add(relation.parent)
    for name, of_name in dependencies.items():
        parents[name].update(of_name)
    return parents
