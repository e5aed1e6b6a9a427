"""What the checks after a run read of a table: what is recorded as migrated, its rows, its journal.

mapping, rows_by_key                               as before a run
recorded (key, tenant_id, tenant_number, mapped,   one row for each tenant that is recorded as migrated;
rows_migrated, rows_kept)                `mapped` is today's mapping: one that was changed
behind the tool's back shows
scan     (key, tenant_id, mapped,                  the rows of these tenants
organization_id, row_count)
written, journal_keys, ...                         see `journal.py`
contents                                           see `contents.py`
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source
from tenant_migration.integrity.scope import MIGRATED_STATES, TableScope
from tenant_migration.integrity.sources.contents import content_sum, contents
from tenant_migration.integrity.sources.journal import journal_tables
from tenant_migration.integrity.sources.key_sums import key_sum
from tenant_migration.integrity.sources.known_keys import remembered_keys
from tenant_migration.integrity.sources.rows_before import mapping_of, rows_by_key
from tenant_migration.integrity.sources.tables import (
    canonical_key,
    column,
    mappings,
    same_tenant,
    tenant_is_in_scope,
)

_RECORDED = """
SELECT {key} AS key, n.tenant_id, s.tenant_number, m.organization_id AS mapped,
       s.rows_migrated, s.rows_kept
FROM tenant_migration.table_states AS s
JOIN tenant_migration.tenants AS n USING (tenant_number)
LEFT JOIN {mappings} AS m ON m.tenant_id = n.tenant_id{known}
WHERE s.table_id = {table_id} AND s.state = ANY ({states}::text[]) AND {tenants}
"""

_TABLES = """
mapping AS MATERIALIZED ({mapping}),
rows_by_key AS MATERIALIZED ({rows_by_key}),
recorded AS MATERIALIZED ({recorded}),
scan AS MATERIALIZED (
    SELECT r.key, r.tenant_id, r.tenant_number, r.mapped, g.organization_id, g.row_count, g.key_sum,
           g.content_sum
    FROM recorded AS r JOIN rows_by_key AS g ON {same_tenant}),
{journal},
{contents}
"""


def recorded_pairs(scope: TableScope) -> sql.Composed:
    """Return a SELECT of the tenants in scope that are recorded as migrated in this table.

    A key that the transaction knows is not computed again; one without a mapping any more is, and one of a
    domain: where nothing is known the join would have NULL, which a domain may forbid.
    """
    key = canonical_key(scope.table, sql.Identifier("n", "tenant_id"))
    is_known = scope.tenants is None and not scope.table.tenant_column.is_domain
    remembered = remembered_keys(scope) if is_known else None
    known = sql.SQL("").format()
    if remembered is not None:
        key = sql.SQL("coalesce(k.key, {})").format(key)
        known = sql.SQL("\nLEFT JOIN ({}) AS k ON k.tenant_id = n.tenant_id").format(remembered)
    return sql.SQL(_RECORDED).format(
        key=key,
        known=known,
        mappings=mappings(scope.plan.interface_schema),
        table_id=sql.Literal(scope.facts.table_id),
        states=sql.Literal(list(MIGRATED_STATES)),
        tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("n", "tenant_id")),
    )


def _key_sum(scope: TableScope) -> sql.Composable:
    keys = scope.table.key_columns
    if not keys or not scope.facts.has_journal:
        return sql.SQL("NULL::numeric")
    return key_sum(keys, [column("t", key.name) for key in keys])


def _build(scope: TableScope) -> sql.Composed:
    return sql.SQL(_TABLES).format(
        mapping=mapping_of(scope),
        rows_by_key=rows_by_key(
            scope,
            sql.SQL("{} AS key_sum").format(_key_sum(scope)),
            sql.SQL("{} AS content_sum").format(content_sum(scope)),
        ),
        recorded=recorded_pairs(scope),
        same_tenant=same_tenant(scope, sql.Identifier("g", "key"), sql.Identifier("r", "key")),
        journal=journal_tables(scope),
        contents=contents(scope),
    )


ROWS_AFTER = Source("rows after", _build)

EXPECTED_ROWS = sql.SQL("(SELECT coalesce(sum(rows_migrated + rows_kept), 0) FROM recorded)")
"""What the states say must be there to look at."""
