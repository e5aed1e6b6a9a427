"""What one table's plan depends on, one sentence a fact, and the hash over them.

A fact belongs here when a change of it could make the stored plan wrong: columns, keys, foreign keys,
triggers, row security, storage, its configuration. Left out: what the tool made itself, statistics, mappings,
partitions (they come and go; the engine reads them anew), and indexes on which nothing depends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tenant_migration.catalog.model import ForeignKey, Index, Table
from tenant_migration.planning.created import CreatedObjects
from tenant_migration.planning.model import TableSettings


def table_facts(
    table: Table,
    foreign_keys: Iterable[ForeignKey],
    *,
    tenant_column: str,
    organization_column: str,
    settings: TableSettings,
    dependencies: Iterable[str],
    created: CreatedObjects,
) -> tuple[str, ...]:
    """List the facts of one table, in order.

    Args:
        table: from the catalog.
        foreign_keys: those that the table declares.
        tenant_column: its key.
        organization_column: its target.
        settings: its settings.
        dependencies: tables that the configuration puts before it.
        created: what the tool made.
    """
    relations = {str(table.name), *(str(leaf.name) for leaf in table.leaves)}
    facts = {
        f"tenant key is {tenant_column}",
        f"organization column is {organization_column}",
        f"kind is {table.kind}, {table.persistence}",
        f"row is known by {', '.join(table.row_identity) or 'its version: no key'}",
        f"primary key is {', '.join(table.primary_key) or 'missing'}",
        f"row security is {'forced' if table.row_security_forced else 'on' if table.row_security else 'off'}",
        f"replica identity is {table.replica_identity}",
    }
    facts.update(
        f"column {column.name}: {column.type_sql}{' not null' if column.not_null else ''}"
        + (f" generated from {column.default_sql}" if column.generated else "")
        + (f" identity {column.identity}" if column.identity else "")
        for column in table.columns
        if not created.has("column", column.name, relations)
    )
    facts.update(
        f"index {index.name}: {index.definition}"
        for index in table.indexes
        if _matters(index, tenant_column, organization_column)
        and not created.has("index", index.name, relations)
    )
    facts.update(
        f"constraint {constraint.name}: {constraint.definition}"
        for constraint in table.constraints
        if not created.has("constraint", constraint.name, relations)
    )
    facts.update(
        f"foreign key {key.name}: {', '.join(key.child_columns)}"
        f" -> {key.parent} ({', '.join(key.parent_columns)})"
        f" on update {key.on_update} on delete {key.on_delete}{' deferrable' if key.deferrable else ''}"
        for key in foreign_keys
        if not created.has("foreign_key", key.name, relations)
    )
    facts.update(
        f"trigger {trigger.name} ({trigger.enabled}): {trigger.definition}"
        f" [source {_digest(trigger.function_source)}]"
        for trigger in table.triggers
        if not created.has("trigger", trigger.name, relations)
    )
    facts.update(f"rule {rule.name}: {rule.definition}" for rule in table.update_rules)
    facts.update(
        f"policy {policy.name}: {policy.command} to {', '.join(policy.roles)}"
        f" using {policy.using} check {policy.check}{'' if policy.permissive else ' restrictive'}"
        for policy in table.policies
    )
    facts.update(f"publication {name}" for name in table.publications)
    facts.update(f"configured to come after {dependency}" for dependency in dependencies)
    facts.update(f"setting {name}: {value}" for name, value in settings.model_dump(mode="json").items())
    return tuple(sorted(facts))


def facts_hash(facts: Iterable[str]) -> str:
    """Return the hash over the facts."""
    return _digest("\n".join(facts))


def _matters(index: Index, tenant_column: str, organization_column: str) -> bool:
    leads_with_key = index.columns[:1] == (tenant_column,)
    return index.unique or leads_with_key or organization_column in index.mentions


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
