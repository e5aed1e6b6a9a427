"""Several tenants that go to one organization: legitimate, and final once their rows are one.

What would collide then, index by index, is `unique_collisions` and `organization_collisions`.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.tables import mappings
from tenant_migration.integrity.verdict import verdict

_SHARED = """
SELECT g.organization_id, g.tenant_ids FROM (
    SELECT m.organization_id, array_agg(m.tenant_id ORDER BY m.tenant_id) AS tenant_ids
    FROM {mappings} AS m GROUP BY m.organization_id HAVING count(*) > 1) AS g
WHERE {wanted}
"""

_TENANTS_SHOWN = 5

_EXAMPLES = """
ARRAY(SELECT s.organization_id || ': '
             || (SELECT string_agg(quote_literal(t.tenant_id), ', ')
                 FROM unnest(s.tenant_ids[:{shown}]) AS t(tenant_id))
             || CASE WHEN cardinality(s.tenant_ids) > {shown}
                     THEN ' and ' || cardinality(s.tenant_ids) - {shown} || ' more' ELSE '' END
      FROM ({shared}) AS s ORDER BY 1 LIMIT {limit})
"""


def _shared(scope: DatabaseScope) -> sql.Composed:
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL("g.tenant_ids && {}::text[]").format(sql.Literal(list(scope.tenants)))
    return sql.SQL(_SHARED).format(mappings=mappings(scope.plan.interface_schema), wanted=wanted)


def _build(scope: DatabaseScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(mappings(scope.plan.interface_schema)),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS s").format(_shared(scope)),
        examples=sql.SQL(_EXAMPLES).format(
            shared=_shared(scope), shown=sql.Literal(_TENANTS_SHOWN), limit=sql.Literal(SAMPLE_LIMIT)
        ),
    )


CHECK = DatabaseCheck(
    name="tenants_share_organization",
    phase="pre-migration",
    severity="info",
    description="Organizations to which several tenants go",
    recommendation="Look whether these tenants are meant to become one organization: afterwards only the "
    "tenant key tells their rows apart. What would collide is in unique_collisions and "
    "organization_collisions.",
    examples_are_names=True,
    build=_build,
    wrong_rows=_shared,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
)
