"""One pass over a relation: which rows of the child find their parent, and whose rows the two are.

    pairs (child_key, parent_key, total, orphans)                before a run
    child_mapping, parent_mapping                                and the mapping, as in `rows_before.py`
    referring (child_tenant, parent_tenant, same_organization,   after a run: rows of tenants recorded as
               total, differing)                                 migrated; parent_tenant NULL: the parent
                                                                 is not there, or not migrated
    pairs                                                        the rest of them, whose parent is

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

_REFERRING = "(SELECT count(*) FROM {child} AS c WHERE {refers} AND {in_scope})"

_AFTER = """
child_recorded AS MATERIALIZED ({child_recorded}),
parent_recorded AS MATERIALIZED ({parent_recorded}),
referring AS MATERIALIZED (
    SELECT cr.tenant_id AS child_tenant, pr.tenant_id AS parent_tenant,
           cr.mapped = pr.mapped AS same_organization, sum(g.total) AS total, sum(g.differing) AS differing
    FROM (
        SELECT {child_key} AS child_key, {parent_key} AS parent_key, count(*) AS total,
               count(*) FILTER (WHERE {ours} <> {theirs}) AS differing
        FROM {child} AS c LEFT JOIN {parent} AS p ON {refers_to} WHERE {refers} AND {in_scope} GROUP BY 1, 2
    ) AS g
    JOIN child_recorded AS cr ON {same_child_tenant}
    LEFT JOIN parent_recorded AS pr ON {same_parent_tenant}
    GROUP BY 1, 2, 3),
pairs AS (SELECT * FROM referring WHERE parent_tenant IS NOT NULL)
"""

EXPECTED_AFTER = sql.SQL("(SELECT sum(referring.total) FROM referring)")
"""Rows of migrated tenants that refer to something."""

_NOT_MIGRATED = " rows of migrated tenants refer to rows that are not there, or not recorded as migrated"
NOT_MAPPED = (
    " rows refer to rows that are not there, or belong to tenants without a mapping, or these rows do"
)

# None of them could be compared: that is no pass, and nothing wrong either.
_COMPARED_DETAILS = """
CASE WHEN v.count > 0 THEN {when_wrong}
     WHEN v.rows_checked = 0 AND v.expected > 0
     THEN jsonb_build_object('skipped', v.expected || {why_not})
     ELSE '{{}}' END
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


def expected_before(scope: RelationScope) -> sql.Composed:
    """Return the number of rows that refer to something, counted without looking for it."""
    parts = {"child": table_name(scope.child), "in_scope": in_scope(scope.child, "c")}
    return sql.SQL(_REFERRING).format(refers=refers(scope, "c"), **parts)


def compared_details(when_wrong: sql.Composable, why_not: str = _NOT_MIGRATED) -> sql.Composed:
    """Return the details of a check that compares both sides, to be asked for always."""
    return sql.SQL(_COMPARED_DETAILS).format(when_wrong=when_wrong, why_not=sql.Literal(why_not))


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
        refers=refers(scope, "c"),
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
