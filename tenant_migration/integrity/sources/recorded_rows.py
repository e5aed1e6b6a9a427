"""Rows of tenants that are recorded as migrated, which meet a condition: the examples after a run."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.tables import in_scope, row_key, same_tenant, table_name, tenant_key

_ROWS = """
SELECT {example} AS example, r.tenant_id FROM {table} AS t JOIN ({recorded}) AS r ON {same_tenant}
WHERE {condition} AND {in_scope}
"""


def recorded_rows(scope: TableScope, condition: sql.Composable) -> sql.Composed:
    """Return a SELECT of (example, tenant_id).

    Args:
        scope: the table.
        condition: on a row `t` of the table and its tenant's row `r` of `recorded_pairs`.
    """
    return sql.SQL(_ROWS).format(
        example=row_key(scope.table, "t"),
        table=table_name(scope),
        recorded=recorded_pairs(scope),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier("r", "key")),
        condition=condition,
        in_scope=in_scope(scope, "t"),
    )
