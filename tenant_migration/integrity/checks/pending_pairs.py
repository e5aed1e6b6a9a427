"""Pairs of table and tenant that are not migrated yet: one piece of information, with counts."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import MIGRATED_STATES, DatabaseScope
from tenant_migration.integrity.sources.tables import mappings, tenant_is_in_scope
from tenant_migration.integrity.verdict import verdict

NAME = "pending_pairs"

_PAIRS = """
SELECT w.position, w.table_schema || '.' || w.table_name AS table_name, m.tenant_id,
       coalesce(s.state, 'pending') AS state,
       s.state IS NULL OR s.state <> ALL ({states}::text[]) AS is_pending
FROM unnest({schemas}::text[], {names}::text[]) WITH ORDINALITY AS w(table_schema, table_name, position)
CROSS JOIN {mappings} AS m
LEFT JOIN tenant_migration.tenants AS n ON n.tenant_id = m.tenant_id
LEFT JOIN tenant_migration.managed_tables AS t
       ON t.table_schema = w.table_schema AND t.table_name = w.table_name
LEFT JOIN tenant_migration.table_states AS s
       ON s.table_id = t.table_id AND s.tenant_number = n.tenant_number
WHERE {tenants}
"""

_BY_TABLE = """
SELECT p.table_name, min(p.position) AS position, count(*) AS pairs
FROM ({pairs}) AS p WHERE p.is_pending GROUP BY p.table_name
"""

_BY_TABLE_AND_STATE = """
SELECT s.table_name, jsonb_object_agg(s.state, s.pairs) AS states
FROM (
    SELECT p.table_name, p.state, count(*) AS pairs
    FROM ({pairs}) AS p WHERE p.is_pending GROUP BY p.table_name, p.state
) AS s GROUP BY s.table_name
"""


def _pairs(scope: DatabaseScope) -> sql.Composed:
    """Return a SELECT of (position, table_name, tenant_id, state, is_pending): every pair in scope."""
    return sql.SQL(_PAIRS).format(
        states=sql.Literal(list(MIGRATED_STATES)),
        schemas=sql.Literal([table.schema_name for table in scope.tables]),
        names=sql.Literal([table.table_name for table in scope.tables]),
        mappings=mappings(scope.plan.interface_schema),
        tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
    )


def _wrong_rows(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL("SELECT p.table_name, p.tenant_id, p.state FROM ({}) AS p WHERE p.is_pending").format(
        _pairs(scope)
    )


def _build(scope: DatabaseScope) -> Verdict:
    pairs = _pairs(scope)
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE p.is_pending)"),
        source=sql.SQL("({}) AS p").format(pairs),
        examples=sql.SQL(
            "ARRAY(SELECT b.table_name || ': ' || b.pairs FROM ({}) AS b ORDER BY b.position LIMIT {})"
        ).format(sql.SQL(_BY_TABLE).format(pairs=pairs), sql.Literal(SAMPLE_LIMIT)),
        details=sql.SQL(
            "jsonb_build_object('pairs', (SELECT jsonb_object_agg(b.table_name, b.states) FROM ({}) AS b))"
        ).format(sql.SQL(_BY_TABLE_AND_STATE).format(pairs=pairs)),
    )


CHECK = DatabaseCheck(
    name=NAME,
    phase="post-migration",
    severity="info",
    description="Pairs of table and tenant that are not migrated yet",
    recommendation="Migrate what is pending; `status --detailed` shows where it stands.",
    build=_build,
    wrong_rows=_wrong_rows,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
    counts_over_tables=True,
)
