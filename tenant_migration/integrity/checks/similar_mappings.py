"""Tenant ids of the mapping that only slips tell apart: 'ACME' and 'acme ' are rarely two tenants."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.spelling import spelling
from tenant_migration.integrity.sources.tables import mappings
from tenant_migration.integrity.verdict import verdict

_GROUPS = """
SELECT g.tenant_ids FROM (
    SELECT array_agg(s.tenant_id ORDER BY s.tenant_id) AS tenant_ids
    FROM (SELECT m.tenant_id, {spelling} AS spelling FROM {mappings} AS m) AS s
    GROUP BY s.spelling HAVING count(*) > 1) AS g
WHERE {wanted}
"""

_EXAMPLES = """
ARRAY(SELECT (SELECT string_agg(quote_literal(t.tenant_id), ' ~ ') FROM unnest(d.tenant_ids) AS t(tenant_id))
      FROM ({groups}) AS d ORDER BY 1 LIMIT {limit})
"""


def _groups(scope: DatabaseScope) -> sql.Composed:
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL("g.tenant_ids && {}::text[]").format(sql.Literal(list(scope.tenants)))
    return sql.SQL(_GROUPS).format(
        spelling=spelling(sql.Identifier("m", "tenant_id")),
        mappings=mappings(scope.plan.interface_schema),
        wanted=wanted,
    )


def _build(scope: DatabaseScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(mappings(scope.plan.interface_schema)),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS d").format(_groups(scope)),
        examples=sql.SQL(_EXAMPLES).format(groups=_groups(scope), limit=sql.Literal(SAMPLE_LIMIT)),
    )


CHECK = DatabaseCheck(
    name="similar_mappings",
    phase="pre-migration",
    severity="info",
    description="Tenant ids of the mapping that differ in case, blanks, form of accents or punctuation alone",
    recommendation="Look whether these are different tenants; if not, correct the rows of one spelling and "
    "delete its mapping.",
    examples_are_names=True,
    build=_build,
    wrong_rows=_groups,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
)
