"""Tenant ids that are one and the same key for some table: 'AB-1' and 'ab-1' where the key is a uuid."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.tables import canonical_key, mappings
from tenant_migration.integrity.verdict import verdict
from tenant_migration.planning.model import TablePlan

_OF_ONE_TYPE = """
SELECT array_agg(k.tenant_id ORDER BY k.tenant_id) AS tenant_ids
FROM (SELECT m.tenant_id, {canonical} AS key FROM {mappings} AS m) AS k
WHERE k.key IS NOT NULL GROUP BY k.key HAVING count(*) > 1
"""


def _one_table_of_each_type(scope: DatabaseScope) -> list[TablePlan]:
    return list({table.tenant_column.quoted_type: table for table in reversed(scope.plan.tables)}.values())


def _groups(scope: DatabaseScope) -> sql.Composed:
    """Return a SELECT of (tenant_ids): the ids that share a key of some type, each group once."""
    of_type = [
        sql.SQL(_OF_ONE_TYPE).format(
            canonical=canonical_key(table, sql.Identifier("m", "tenant_id")),
            mappings=mappings(scope.plan.interface_schema),
        )
        for table in _one_table_of_each_type(scope)
    ]
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL("g.tenant_ids && {}::text[]").format(sql.Literal(list(scope.tenants)))
    return sql.SQL("SELECT DISTINCT g.tenant_ids FROM ({}) AS g WHERE {}").format(
        sql.SQL(" UNION ALL ").join(of_type), wanted
    )


def _build(scope: DatabaseScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(mappings(scope.plan.interface_schema)),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS d").format(_groups(scope)),
        examples=sql.SQL(
            "ARRAY(SELECT array_to_string(d.tenant_ids, ' = ') FROM ({}) AS d ORDER BY 1 LIMIT {})"
        ).format(_groups(scope), sql.Literal(SAMPLE_LIMIT)),
    )


CHECK = DatabaseCheck(
    name="duplicate_mappings",
    phase="pre-migration",
    severity="critical",
    description="Tenant ids that spell the same key of a table in several ways",
    recommendation="Keep one mapping for each key.",
    examples_are_names=True,
    build=_build,
    wrong_rows=_groups,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
    not_applicable=lambda scope: None if scope.plan.tables else "the plan has no tables",
)
