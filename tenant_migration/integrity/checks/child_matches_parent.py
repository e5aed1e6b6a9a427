"""A row belongs to the organization of the row that it refers to, where both tables are migrated.

Rows of tenants with different organizations are asked about by `references_stay_in_organization`; missing
organizations by `rows_have_organization`.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope, nothing_recorded_on_both_sides
from tenant_migration.integrity.sources.kept import is_kept
from tenant_migration.integrity.sources.references import REFERENCES_AFTER
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.tables import (
    in_scope,
    organization,
    row_key,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict


def _build(scope: RelationScope) -> Verdict:
    # `differing` over tenants of one organization is cheap; whether such rows are kept values is asked only
    # of them.
    differing = sql.SQL("sum(pairs.differing) FILTER (WHERE pairs.same_organization IS NOT FALSE)")
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL("CASE WHEN {} > 0 THEN (SELECT count(*) FROM ({}) AS w) END").format(
            differing, _wrong_rows(scope)
        ),
        source=sql.SQL("pairs"),
        examples=first_examples(_wrong_rows(scope)),
        details=tenants_detail(
            sql.SQL("SELECT w.tenant_id, 1 AS wrong FROM ({}) AS w").format(_wrong_rows(scope))
        ),
    )


def _wrong_rows(scope: RelationScope) -> sql.Composed:
    return sql.SQL(
        "SELECT {example} AS example, cr.tenant_id FROM {child} AS c JOIN {parent} AS p ON {refers_to} "
        "JOIN ({child_recorded}) AS cr ON {same_child_tenant} "
        "JOIN ({parent_recorded}) AS pr ON {same_parent_tenant} "
        "WHERE {ours} <> {theirs} AND (cr.mapped = pr.mapped) IS NOT FALSE AND {in_scope} "
        "AND NOT ({child_is_kept}) AND NOT ({parent_is_kept})"
    ).format(
        example=row_key(scope.child.table, "c"),
        child=table_name(scope.child.table),
        parent=table_name(scope.parent.table),
        refers_to=sql.SQL(scope.join_condition),
        child_recorded=recorded_pairs(scope.child),
        parent_recorded=recorded_pairs(scope.parent),
        same_child_tenant=same_tenant(
            scope.child, tenant_key(scope.child.table, "c"), sql.Identifier("cr", "key")
        ),
        same_parent_tenant=same_tenant(
            scope.parent, tenant_key(scope.parent.table, "p"), sql.Identifier("pr", "key")
        ),
        ours=organization(scope.child, "c"),
        theirs=organization(scope.parent, "p"),
        in_scope=in_scope(scope.child, "c"),
        child_is_kept=is_kept(scope.child, "c", "cr"),
        parent_is_kept=is_kept(scope.parent, "p", "pr"),
    )


CHECK = RelationCheck(
    name="child_matches_parent",
    phase="post-migration",
    severity="critical",
    description="Rows whose organization is not that of the row they refer to",
    recommendation="Compare both rows with the mapping of their tenants; roll the wrong one back and "
    "migrate it again.",
    build=_build,
    source=REFERENCES_AFTER,
    not_applicable=nothing_recorded_on_both_sides,
    wrong_rows=_wrong_rows,
)
