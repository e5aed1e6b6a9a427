"""Rows whose parent belongs to another tenant, be it of the same organization or of none.

What crosses organizations is `references_stay_in_organization`; here also tenants that become one, and
tenants without a mapping. A row or a parent without a tenant belongs to nobody, not to somebody else.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope
from tenant_migration.integrity.sources.references import (
    REFERENCES_BEFORE,
    expected_before,
    joined,
    tenants_joined,
)
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import row_key, same_tenant, tenant_key
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_JOINED = """
(SELECT pairs.total, coalesce(cm.tenant_id, pairs.child_key::text) AS tenant_id, {different} AS is_different
 FROM pairs LEFT JOIN child_mapping AS cm ON {same_child_tenant}
 LEFT JOIN parent_mapping AS pm ON {same_parent_tenant}
) AS d
"""

# Two keys are one tenant when the mapping says so; unmapped ones when they are equal.
_DIFFERENT = """
(CASE WHEN cm.tenant_id IS NOT NULL AND pm.tenant_id IS NOT NULL THEN cm.tenant_id <> pm.tenant_id
      ELSE coalesce(NOT ({equal}), false) END)
"""

_WRONG_ROWS = """
SELECT {example} AS example, {child_key} AS tenant, {parent_key} AS tenant_of_parent
FROM {child} AS c JOIN {parent} AS p ON {refers_to}
LEFT JOIN ({child_tenants}) AS cm ON {same_child_tenant}
LEFT JOIN ({parent_tenants}) AS pm ON {same_parent_tenant}
WHERE {different} AND {in_scope}
"""


def _different(scope: RelationScope, child_key: sql.Composable, parent_key: sql.Composable) -> sql.Composed:
    child, parent = scope.child.table.tenant_column, scope.parent.table.tenant_column
    if child.quoted_type == parent.quoted_type:
        equal = same_tenant(scope.child, child_key, parent_key)
    else:
        equal = sql.SQL("{}::text = {}::text").format(child_key, parent_key)
    return sql.SQL(_DIFFERENT).format(equal=equal)


def _build(scope: RelationScope) -> Verdict:
    child_key, parent_key = sql.Identifier("pairs", "child_key"), sql.Identifier("pairs", "parent_key")
    source = sql.SQL(_JOINED).format(
        different=_different(scope, child_key, parent_key),
        same_child_tenant=same_tenant(scope.child, child_key, sql.Identifier("cm", "key")),
        same_parent_tenant=same_tenant(scope.parent, parent_key, sql.Identifier("pm", "key")),
    )
    return verdict(
        rows_checked=sql.SQL("sum(d.total)"),
        count=sql.SQL("sum(d.total) FILTER (WHERE d.is_different)"),
        source=source,
        expected=expected_before(scope),
        examples=first_examples(_wrong_rows(scope)),
        details=tenants_detail(
            sql.SQL("SELECT d.tenant_id, d.total AS wrong FROM {} WHERE d.is_different").format(source)
        ),
    )


def _wrong_rows(scope: RelationScope) -> sql.Composed:
    child_key, parent_key = tenant_key(scope.child.table, "c"), tenant_key(scope.parent.table, "p")
    return sql.SQL(_WRONG_ROWS).format(
        example=row_key(scope.child.table, "c"),
        child_key=child_key,
        parent_key=parent_key,
        child_tenants=mapping_of(scope.child),
        parent_tenants=mapping_of(scope.parent),
        different=_different(scope, child_key, parent_key),
        **joined(scope),
        **tenants_joined(scope, ("cm", "key"), ("pm", "key")),
    )


CHECK = RelationCheck(
    name="references_stay_in_tenant",
    phase="pre-migration",
    severity="info",
    description="Rows whose parent belongs to another tenant",
    recommendation="Look whether these references are meant: each row goes where its own tenant goes.",
    build=_build,
    source=REFERENCES_BEFORE,
    wrong_rows=_wrong_rows,
)
