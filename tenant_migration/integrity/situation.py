"""What is the case when checks are run: facts of the tables, the configuration, who is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.facts import (
    Connection,
    read_facts,
    read_join_condition,
    tenants_share_organizations,
)
from tenant_migration.integrity.known_keys import read_known_keys
from tenant_migration.integrity.savepoint import savepoint
from tenant_migration.integrity.scope import DatabaseScope, RelationScope, Structure, TableFacts, TableScope
from tenant_migration.integrity.structure import read_structure
from tenant_migration.integrity.targets import DatabaseTarget, RelationTarget, Target
from tenant_migration.planning.model import Plan, Relation, TablePlan


@dataclass(frozen=True)
class Situation:
    """Turns what is to be asked into scopes for the SQL builders."""

    plan: Plan
    config: MigrationConfig
    tenants: tuple[str, ...] | None
    facts: Mapping[str, TableFacts]
    """Of the tables in scope, for the tenants in scope."""
    parent_facts: Mapping[str, TableFacts]
    """Of the tables that they refer to, for every tenant."""
    parents: Mapping[str, TablePlan]
    """By name."""
    join_conditions: Mapping[tuple[str, str], str | psycopg.Error]
    """By child and relation; an error where the columns of the relation are not there any more."""
    structures: Mapping[str, Structure]
    """Of the tables in scope, before a run."""
    several_tenants_share_an_organization: bool
    known_keys: Mapping[str, int]
    """Number of the keys that the transaction knows, by quoted type."""

    def table(self, table: TablePlan) -> TableScope:
        """Return the scope of a table."""
        return self._scope(table, self.facts, self.tenants)

    def relation(self, relation: Relation, child: TablePlan) -> RelationScope | psycopg.Error:
        """Return the scope of a relation, or why there is none."""
        condition = self.join_conditions[relation.child, relation.name]
        if isinstance(condition, psycopg.Error):
            return condition
        parent = self._scope(self.parents[relation.parent], self.parent_facts, None)
        return RelationScope(relation, self.table(child), parent, condition)

    def database(self, tables: tuple[TablePlan, ...]) -> DatabaseScope:
        """Return the scope of the database."""
        return DatabaseScope(self.plan, tables, self.tenants)

    def _scope(
        self, table: TablePlan, facts: Mapping[str, TableFacts], tenants: tuple[str, ...] | None
    ) -> TableScope:
        return TableScope(
            plan=self.plan,
            table=table,
            facts=facts[table.qualified_name],
            tenants=tenants,
            allowed_unmapped_tenants=tuple(self.config.validation.allowed_unmapped_tenants),
            several_tenants_share_an_organization=self.several_tenants_share_an_organization,
            structure=self.structures.get(table.qualified_name, Structure()),
            known_keys=self.known_keys,
        )


def read_situation(
    connection: Connection,
    plan: Plan,
    config: MigrationConfig,
    targets: Sequence[Target],
    tenants: tuple[str, ...] | None,
) -> Situation:
    """Read what the builders must know for these targets."""
    tables = {
        target.table.qualified_name: target.table
        for target in targets
        if not isinstance(target, DatabaseTarget)
    }
    relations = {
        (target.relation.child, target.relation.name): target.relation
        for target in targets
        if isinstance(target, RelationTarget) and target.relation is not None
    }
    is_before = any(target.check.phase == "pre-migration" for target in targets)
    by_name = {table.qualified_name: table for table in plan.tables}
    parents = {relation.parent: by_name[relation.parent] for relation in relations.values()}
    return Situation(
        plan=plan,
        config=config,
        tenants=tenants,
        facts=read_facts(connection, list(tables.values()), tenants),
        parents=parents,
        parent_facts=read_facts(connection, list(parents.values()), None),
        join_conditions={
            name: _join_condition(connection, relation, by_name) for name, relation in relations.items()
        },
        structures=read_structure(connection, plan, list(tables.values()) if is_before else []),
        several_tenants_share_an_organization=tenants_share_organizations(connection, plan),
        known_keys=read_known_keys(
            connection, plan, [*(tables.values() if tenants is None else ()), *parents.values()]
        ),
    )


def _join_condition(
    connection: Connection, relation: Relation, tables: Mapping[str, TablePlan]
) -> str | psycopg.Error:
    try:
        with savepoint(connection):
            return read_join_condition(connection, relation, tables[relation.child], tables[relation.parent])
    except psycopg.Error as error:
        return error
