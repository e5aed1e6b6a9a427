"""References between rows of different organizations: after the migration no single organization sees both.

The rows are right, each by its own tenant; the reference is what deserves a look. Asked before and after.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope, nothing_recorded_on_both_sides
from tenant_migration.integrity.sources.references import REFERENCES_AFTER, REFERENCES_BEFORE
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import (
    in_scope,
    organization,
    row_key,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_NAME = "references_stay_in_organization"
_DESCRIPTION = "Rows that refer to a row of another organization"
_RECOMMENDATION = (
    "Decide whether these references are meant: after the migration the two rows belong to different "
    "organizations."
)


def _build_before(scope: RelationScope) -> Verdict:
    crossing = sql.SQL(
        "pairs JOIN ({child}) AS cm ON {same_child_tenant} JOIN ({parent}) AS pm ON {same_parent_tenant}"
    ).format(
        child=mapping_of(scope.child),
        parent=mapping_of(scope.parent),
        same_child_tenant=same_tenant(
            scope.child, sql.Identifier("cm", "key"), sql.Identifier("pairs", "child_key")
        ),
        same_parent_tenant=same_tenant(
            scope.parent, sql.Identifier("pm", "key"), sql.Identifier("pairs", "parent_key")
        ),
    )
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL("sum(pairs.total) FILTER (WHERE cm.organization_id <> pm.organization_id)"),
        source=crossing,
        examples=first_examples(_wrong_before(scope)),
        details=tenants_detail(
            sql.SQL(
                "SELECT cm.tenant_id, pairs.total AS wrong FROM {} WHERE cm.organization_id <> "
                "pm.organization_id"
            ).format(crossing)
        ),
    )


def _wrong_before(scope: RelationScope) -> sql.Composed:
    return _wrong_rows(
        scope,
        mapping_of(scope.child),
        mapping_of(scope.parent),
        sql.SQL("cm.organization_id <> pm.organization_id"),
    )


def _build_after(scope: RelationScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL("sum(pairs.differing) FILTER (WHERE NOT pairs.same_organization)"),
        source=sql.SQL("pairs"),
        examples=first_examples(_wrong_after(scope)),
        details=tenants_detail(
            sql.SQL(
                "SELECT pairs.child_tenant AS tenant_id, pairs.differing AS wrong FROM pairs "
                "WHERE NOT pairs.same_organization"
            )
        ),
    )


def _wrong_after(scope: RelationScope) -> sql.Composed:
    return _wrong_rows(
        scope,
        recorded_pairs(scope.child),
        recorded_pairs(scope.parent),
        sql.SQL("cm.mapped <> pm.mapped AND {} <> {}").format(
            organization(scope.child, "c"), organization(scope.parent, "p")
        ),
    )


def _wrong_rows(
    scope: RelationScope, child: sql.Composable, parent: sql.Composable, crossing: sql.Composable
) -> sql.Composed:
    return sql.SQL(
        "SELECT {example} AS example FROM {child_table} AS c JOIN {parent_table} AS p ON {refers_to} "
        "JOIN ({child}) AS cm ON {same_child_tenant} JOIN ({parent}) AS pm ON {same_parent_tenant} "
        "WHERE {crossing} AND {in_scope}"
    ).format(
        example=row_key(scope.child.table, "c"),
        child_table=table_name(scope.child.table),
        parent_table=table_name(scope.parent.table),
        refers_to=sql.SQL(scope.join_condition),
        child=child,
        parent=parent,
        same_child_tenant=same_tenant(
            scope.child, tenant_key(scope.child.table, "c"), sql.Identifier("cm", "key")
        ),
        same_parent_tenant=same_tenant(
            scope.parent, tenant_key(scope.parent.table, "p"), sql.Identifier("pm", "key")
        ),
        crossing=crossing,
        in_scope=in_scope(scope.child, "c"),
    )


BEFORE = RelationCheck(
    name=_NAME,
    phase="pre-migration",
    severity="warning",
    description=_DESCRIPTION,
    recommendation=_RECOMMENDATION,
    build=_build_before,
    source=REFERENCES_BEFORE,
    wrong_rows=_wrong_before,
)

AFTER = RelationCheck(
    name=_NAME,
    phase="post-migration",
    severity="warning",
    description=_DESCRIPTION,
    recommendation=_RECOMMENDATION,
    build=_build_after,
    source=REFERENCES_AFTER,
    not_applicable=nothing_recorded_on_both_sides,
    wrong_rows=_wrong_after,
)
