"""One grouped scan of a table, joined with the mapping: what every row-level check before a run reads.

mapping     (key, tenant_id, organization_id)     one row for each key that has a mapping
rows_by_key (key, organization_id, row_count)     the scan: one row for each key and organization
scan        = rows_by_key and (tenant_id, mapped) of its mapping, NULL without one
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.known_keys import keys_of_type, remembered_keys
from tenant_migration.integrity.sources.tables import (
    in_scope,
    organization,
    same_tenant,
    table_name,
    tenant_is_in_scope,
    tenant_key,
)

_ROWS_BY_KEY = """
SELECT {key} AS key, {organization} AS organization_id, count(*) AS row_count{more}
FROM {table} AS t WHERE {in_scope} GROUP BY 1, 2
"""

_TABLES = """
mapping AS MATERIALIZED ({mapping}),
rows_by_key AS MATERIALIZED ({rows_by_key}),
scan AS MATERIALIZED (
    SELECT g.key, g.organization_id, g.row_count, m.tenant_id, m.organization_id AS mapped
    FROM rows_by_key AS g LEFT JOIN mapping AS m ON {same_tenant})
"""


def mapping_of(scope: TableScope) -> sql.Composed:
    """Return a SELECT of (key, tenant_id, organization_id), one row for each key."""
    known = remembered_keys(scope) if scope.tenants is None else None
    if known is not None:
        return known
    tenants = tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id"))
    return keys_of_type(scope.table, scope.plan.interface_schema, tenants)


def rows_by_key(scope: TableScope, *aggregates: sql.Composable) -> sql.Composed:
    """Return a SELECT of (key, organization_id, row_count, ...): the scan, with further aggregates of `t`."""
    return sql.SQL(_ROWS_BY_KEY).format(
        more=sql.SQL("").join(sql.SQL(", {}").format(aggregate) for aggregate in aggregates),
        key=tenant_key(scope.table, "t"),
        organization=organization(scope, "t"),
        table=table_name(scope),
        in_scope=in_scope(scope, "t"),
    )


def _build(scope: TableScope) -> sql.Composed:
    return sql.SQL(_TABLES).format(
        mapping=mapping_of(scope),
        rows_by_key=rows_by_key(scope),
        same_tenant=same_tenant(scope, sql.Identifier("g", "key"), sql.Identifier("m", "key")),
    )


ROWS_BEFORE = Source("rows before", _build)
