"""Pairs of table and tenant, with the state that the database records for each.

Belongs here: what the two checks on pairs read. Which states are wrong is theirs to say.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.tables import mappings, tenant_is_in_scope
from tenant_migration.integrity.verdict import verdict

_PAIRS = """
SELECT w.position, w.table_schema || '.' || w.table_name AS table_name, m.tenant_id,
       coalesce(s.state, 'pending') AS state,
       {counts} AS counts
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
FROM ({pairs}) AS p WHERE p.counts GROUP BY p.table_name
"""

_DETAILS = """
jsonb_build_object(
    'pairs', (
        SELECT jsonb_object_agg(b.table_name, b.states)
        FROM (
            SELECT s.table_name, jsonb_object_agg(s.state, s.pairs) AS states
            FROM (
                SELECT p.table_name, p.state, count(*) AS pairs
                FROM ({pairs}) AS p WHERE p.counts GROUP BY p.table_name, p.state
            ) AS s GROUP BY s.table_name
        ) AS b),
    'tenants', (
        SELECT jsonb_object_agg(b.tenant_id, b.pairs)
        FROM (
            SELECT p.tenant_id, count(*) AS pairs FROM ({pairs}) AS p WHERE p.counts GROUP BY p.tenant_id
        ) AS b))
"""


STATE = sql.SQL("coalesce(s.state, 'pending')")
"""Of a pair; one that was never touched is pending."""


def pairs(scope: DatabaseScope, counts: sql.Composable) -> sql.Composed:
    """Return a SELECT of (position, table_name, tenant_id, state, counts): every pair in scope.

    Args:
        scope: tables and tenants.
        counts: condition on `STATE`.
    """
    return sql.SQL(_PAIRS).format(
        counts=counts,
        schemas=sql.Literal([table.schema_name for table in scope.tables]),
        names=sql.Literal([table.table_name for table in scope.tables]),
        mappings=mappings(scope.plan.interface_schema),
        tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
    )


def counted_pairs(found: sql.Composed) -> Verdict:
    """Return the SELECT of a check that counts pairs: by table as examples, by state and tenant beside."""
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE p.counts)"),
        source=sql.SQL("({}) AS p").format(found),
        examples=sql.SQL(
            "ARRAY(SELECT b.table_name || ': ' || b.pairs FROM ({}) AS b ORDER BY b.position LIMIT {})"
        ).format(sql.SQL(_BY_TABLE).format(pairs=found), sql.Literal(SAMPLE_LIMIT)),
        details=sql.SQL(_DETAILS).format(pairs=found),
    )


def listed_pairs(found: sql.Composed) -> sql.Composed:
    """Return the query that lists them for a person."""
    return sql.SQL("SELECT p.table_name, p.tenant_id, p.state FROM ({}) AS p WHERE p.counts").format(found)
