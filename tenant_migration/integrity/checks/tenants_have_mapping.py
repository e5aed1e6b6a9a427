"""Every tenant that owns rows has a mapping, or is allowed to have none.

Asked before, where it keeps a run from starting, and after: a tenant may have been born meanwhile.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER
from tenant_migration.integrity.sources.rows_before import ROWS_BEFORE, mapping_of
from tenant_migration.integrity.sources.tables import (
    in_scope,
    key_is_one_of,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import verdict

_UNMAPPED = """
SELECT g.key, sum(g.row_count) AS row_count
FROM rows_by_key AS g LEFT JOIN mapping AS m ON {same_tenant}
WHERE g.key IS NOT NULL AND m.key IS NULL AND NOT {allowed} GROUP BY g.key
"""

_WRONG_ROWS = """
SELECT {key}::text AS example, count(*) AS rows
FROM {table} AS t LEFT JOIN ({mapping}) AS m ON {same_tenant}
WHERE {key} IS NOT NULL AND m.key IS NULL AND {in_scope} AND NOT {allowed} GROUP BY {key}
"""


def _build(scope: TableScope) -> Verdict:
    key = sql.Identifier("g", "key")
    unmapped = sql.SQL(_UNMAPPED).format(
        same_tenant=same_tenant(scope, key, sql.Identifier("m", "key")), allowed=_is_allowed(scope, key)
    )
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(row_count) FROM rows_by_key)"),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS u").format(unmapped),
        examples=sql.SQL(
            "ARRAY(SELECT u.key::text FROM ({}) AS u ORDER BY u.row_count DESC, u.key::text LIMIT {})"
        ).format(unmapped, sql.Literal(SAMPLE_LIMIT)),
        details=sql.SQL("jsonb_build_object('rows', (SELECT sum(u.row_count) FROM ({}) AS u))").format(
            unmapped
        ),
    )


def _is_allowed(scope: TableScope, key: sql.Composable) -> sql.Composable:
    if not scope.allowed_unmapped_tenants:
        return sql.SQL("FALSE")
    return key_is_one_of(scope, key, scope.allowed_unmapped_tenants)


def _wrong_rows(scope: TableScope) -> sql.Composed:
    key = tenant_key(scope.table, "t")
    return sql.SQL(_WRONG_ROWS).format(
        key=key,
        table=table_name(scope),
        mapping=mapping_of(scope),
        same_tenant=same_tenant(scope, key, sql.Identifier("m", "key")),
        in_scope=in_scope(scope, "t"),
        allowed=_is_allowed(scope, key),
    )


_COMMON: dict[str, Any] = {
    "name": "tenants_have_mapping",
    "description": "Tenant IDs without organization mapping",
    "recommendation": "Map these tenants (`mappings --import`, `mappings --suggest`), or list those that may "
    "have no organization in validation.allowed_unmapped_tenants.",
    "build": _build,
    "wrong_rows": _wrong_rows,
    "column": lambda scope: scope.table.tenant_column.name,
}

BEFORE = TableCheck(phase="pre-migration", severity="critical", source=ROWS_BEFORE, **_COMMON)
AFTER = TableCheck(phase="post-migration", severity="warning", source=ROWS_AFTER, **_COMMON)
