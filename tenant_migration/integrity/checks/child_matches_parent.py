"""A row belongs to the organization of the row that it refers to, where both tables are migrated.

Rows of tenants with different organizations are asked about by `references_stay_in_organization`; missing
organizations by `rows_have_organization`; values that were kept on purpose by nobody.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope, nothing_recorded_on_both_sides
from tenant_migration.integrity.sources.kept import is_kept
from tenant_migration.integrity.sources.references import (
    EXPECTED_AFTER,
    REFERENCES_AFTER,
    compared_details,
    joined,
    tenants_joined,
)
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.tables import organization, row_key
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

# That rows of one organization differ is known from the pass over the relation; only then are they looked at
# one by one, for kept values.
_COUNT = """
CASE WHEN sum(pairs.differing) FILTER (WHERE pairs.same_organization IS NOT FALSE) > 0
     THEN (SELECT count(*) FROM ({}) AS w) END
"""

_WRONG_ROWS = """
SELECT {example} AS example, cr.tenant_id FROM {child} AS c JOIN {parent} AS p ON {refers_to}
JOIN ({child_tenants}) AS cr ON {same_child_tenant} JOIN ({parent_tenants}) AS pr ON {same_parent_tenant}
WHERE {ours} <> {theirs} AND (cr.mapped = pr.mapped) IS NOT FALSE AND {in_scope}
  AND NOT ({child_is_kept}) AND NOT ({parent_is_kept})
"""


def _build(scope: RelationScope) -> Verdict:
    wrong = _wrong_rows(scope)
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL(_COUNT).format(wrong),
        source=sql.SQL("pairs"),
        expected=EXPECTED_AFTER,
        examples=first_examples(wrong),
        details=compared_details(
            tenants_detail(sql.SQL("SELECT w.tenant_id, 1 AS wrong FROM ({}) AS w").format(wrong))
        ),
        details_when_passed=True,
    )


def _wrong_rows(scope: RelationScope) -> sql.Composed:
    return sql.SQL(_WRONG_ROWS).format(
        example=row_key(scope.child.table, "c"),
        child_tenants=recorded_pairs(scope.child),
        parent_tenants=recorded_pairs(scope.parent),
        ours=organization(scope.child, "c"),
        theirs=organization(scope.parent, "p"),
        child_is_kept=is_kept(scope.child, "c", "cr"),
        parent_is_kept=is_kept(scope.parent, "p", "pr"),
        **joined(scope),
        **tenants_joined(scope, ("cr", "key"), ("pr", "key")),
    )


CHECK = RelationCheck(
    name="child_matches_parent",
    phase="post-migration",
    severity="critical",
    description="Rows whose organization is not that of the row they refer to",
    recommendation="Compare both rows with the mapping of their tenants; roll the wrong one back and migrate "
    "it again.",
    build=_build,
    source=REFERENCES_AFTER,
    not_applicable=nothing_recorded_on_both_sides,
    wrong_rows=_wrong_rows,
)
