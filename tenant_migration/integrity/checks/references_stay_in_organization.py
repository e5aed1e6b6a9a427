"""References between rows of different organizations: after the migration no single one sees both.

The rows are right, each by its own tenant; the reference is what deserves a look. Asked before and after.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope, nothing_recorded_on_both_sides
from tenant_migration.integrity.sources.references import (
    EXPECTED_AFTER,
    NOT_MAPPED,
    REFERENCES_AFTER,
    REFERENCES_BEFORE,
    compared_details,
    expected_before,
    joined,
    tenants_joined,
)
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import organization, row_key, same_tenant
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_MAPPED_PAIRS = """
pairs JOIN child_mapping AS cm ON {same_child_tenant} JOIN parent_mapping AS pm ON {same_parent_tenant}
"""

_CROSSING_BY_TENANT = """
SELECT cm.tenant_id, pairs.total AS wrong FROM {} WHERE cm.organization_id <> pm.organization_id
"""

_DIFFERING_BY_TENANT = """
SELECT pairs.child_tenant AS tenant_id, pairs.differing AS wrong FROM pairs WHERE NOT pairs.same_organization
"""

_WRONG_ROWS = """
SELECT {example} AS example FROM {child} AS c JOIN {parent} AS p ON {refers_to}
JOIN ({child_tenants}) AS cm ON {same_child_tenant} JOIN ({parent_tenants}) AS pm ON {same_parent_tenant}
WHERE {crossing} AND {in_scope}
"""


def _build_before(scope: RelationScope) -> Verdict:
    pairs = sql.SQL(_MAPPED_PAIRS).format(
        same_child_tenant=same_tenant(
            scope.child, sql.Identifier("pairs", "child_key"), sql.Identifier("cm", "key")
        ),
        same_parent_tenant=same_tenant(
            scope.parent, sql.Identifier("pairs", "parent_key"), sql.Identifier("pm", "key")
        ),
    )
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL("sum(pairs.total) FILTER (WHERE cm.organization_id <> pm.organization_id)"),
        source=pairs,
        expected=expected_before(scope),
        examples=first_examples(_wrong_before(scope)),
        details=compared_details(tenants_detail(sql.SQL(_CROSSING_BY_TENANT).format(pairs)), NOT_MAPPED),
        details_when_passed=True,
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
        expected=EXPECTED_AFTER,
        examples=first_examples(_wrong_after(scope)),
        details=compared_details(tenants_detail(sql.SQL(_DIFFERING_BY_TENANT))),
        details_when_passed=True,
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
    scope: RelationScope,
    child_tenants: sql.Composable,
    parent_tenants: sql.Composable,
    crossing: sql.Composable,
) -> sql.Composed:
    return sql.SQL(_WRONG_ROWS).format(
        example=row_key(scope.child.table, "c"),
        child_tenants=child_tenants,
        parent_tenants=parent_tenants,
        crossing=crossing,
        **joined(scope),
        **tenants_joined(scope, ("cm", "key"), ("pm", "key")),
    )


_COMMON: dict[str, Any] = {
    "name": "references_stay_in_organization",
    "severity": "warning",
    "description": "Rows that refer to a row of another organization",
    "recommendation": "Decide whether these references are meant: after the migration the two rows belong to "
    "different organizations.",
}

BEFORE = RelationCheck(
    phase="pre-migration", build=_build_before, wrong_rows=_wrong_before, source=REFERENCES_BEFORE, **_COMMON
)

AFTER = RelationCheck(
    phase="post-migration",
    build=_build_after,
    wrong_rows=_wrong_after,
    source=REFERENCES_AFTER,
    not_applicable=nothing_recorded_on_both_sides,
    **_COMMON,
)
