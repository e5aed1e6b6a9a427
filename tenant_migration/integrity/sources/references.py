"""One pass over a relation: which rows of the child find their parent, and whose rows the two are.

    pairs (child_key, parent_key, total, orphans)                before a run
    child_mapping, parent_mapping                                and the mapping, as in `rows_before.py`
    pairs (child_tenant, parent_tenant, same_organization,       after a run; only where both tenants are
           total, differing)                                     recorded as migrated

MATCH SIMPLE: a row with a NULL in its referring columns refers to nothing.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source
from tenant_migration.integrity.scope import RelationScope
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import (
    all_of,
    column,
    in_scope,
    organization,
    same_tenant,
    table_name,
    tenant_key,
)

# Joined by equality with the parent's column, so a NULL one of the parent means: no such row.
_BEFORE = """
child_mapping AS MATERIALIZED ({child_mapping}),
parent_mapping AS MATERIALIZED ({parent_mapping}),
pairs AS MATERIALIZED (
    SELECT {child_key} AS child_key, {parent_key} AS parent_key, count(*) AS total,
           count(*) FILTER (WHERE {found} IS NULL) AS orphans
    FROM {child} AS c LEFT JOIN {parent} AS p ON {refers_to}
    WHERE {refers} AND {in_scope} GROUP BY 1, 2)
"""

_AFTER = """
child_recorded AS MATERIALIZED ({child_recorded}),
parent_recorded AS MATERIALIZED ({parent_recorded}),
pairs AS MATERIALIZED (
    SELECT cr.tenant_id AS child_tenant, pr.tenant_id AS parent_tenant,
           cr.mapped = pr.mapped AS same_organization, sum(g.total) AS total, sum(g.differing) AS differing
    FROM (
        SELECT {child_key} AS child_key, {parent_key} AS parent_key, count(*) AS total,
               count(*) FILTER (WHERE {ours} <> {theirs}) AS differing
        FROM {child} AS c JOIN {parent} AS p ON {refers_to} WHERE {in_scope} GROUP BY 1, 2
    ) AS g
    JOIN child_recorded AS cr ON {same_child_tenant}
    JOIN parent_recorded AS pr ON {same_parent_tenant}
    GROUP BY 1, 2, 3)
"""


def refers(scope: RelationScope, child: str) -> sql.Composable:
    """Return the condition that a row of the child refers to something at all."""
    names = scope.relation.child_columns
    return all_of([sql.SQL("{} IS NOT NULL").format(column(child, name)) for name in names])


def joined(scope: RelationScope) -> dict[str, sql.Composable]:
    """Return the parts of a join of the child `c` with its parent `p`, to fill in."""
    return {
        "child": table_name(scope.child),
        "parent": table_name(scope.parent),
        "refers_to": sql.SQL(scope.join_condition),
        "in_scope": in_scope(scope.child, "c"),
    }


def tenants_joined(
    scope: RelationScope, child: tuple[str, str], parent: tuple[str, str]
) -> dict[str, sql.Composable]:
    """Return the conditions that the tenants of `c` and `p` are those of two further relations of the join.

    Args:
        scope: the relation.
        child: alias and column that have the child's key.
        parent: alias and column that have the parent's key.
    """
    return {
        "same_child_tenant": same_tenant(
            scope.child, tenant_key(scope.child.table, "c"), sql.Identifier(*child)
        ),
        "same_parent_tenant": same_tenant(
            scope.parent, tenant_key(scope.parent.table, "p"), sql.Identifier(*parent)
        ),
    }


def _parent_mapping(scope: RelationScope) -> sql.Composed:
    """Return the mapping in the type of the parent's key: read once where it is the child's."""
    child, parent = (side.table.tenant_column.quoted_type for side in (scope.child, scope.parent))
    if child == parent and scope.child.tenants == scope.parent.tenants:
        return sql.SQL("SELECT * FROM child_mapping").format()
    return mapping_of(scope.parent)


def _before(scope: RelationScope) -> sql.Composed:
    return sql.SQL(_BEFORE).format(
        child_mapping=mapping_of(scope.child),
        parent_mapping=_parent_mapping(scope),
        child_key=tenant_key(scope.child.table, "c"),
        parent_key=tenant_key(scope.parent.table, "p"),
        found=column("p", scope.relation.parent_columns[0]),
        refers=refers(scope, "c"),
        **joined(scope),
    )


def _after(scope: RelationScope) -> sql.Composed:
    return sql.SQL(_AFTER).format(
        child_recorded=recorded_pairs(scope.child),
        parent_recorded=recorded_pairs(scope.parent),
        child_key=tenant_key(scope.child.table, "c"),
        parent_key=tenant_key(scope.parent.table, "p"),
        ours=organization(scope.child, "c"),
        theirs=organization(scope.parent, "p"),
        same_child_tenant=same_tenant(
            scope.child, sql.Identifier("g", "child_key"), sql.Identifier("cr", "key")
        ),
        same_parent_tenant=same_tenant(
            scope.parent, sql.Identifier("g", "parent_key"), sql.Identifier("pr", "key")
        ),
        **joined(scope),
    )


REFERENCES_BEFORE = Source("references before", _before)
REFERENCES_AFTER = Source("references after", _after)
