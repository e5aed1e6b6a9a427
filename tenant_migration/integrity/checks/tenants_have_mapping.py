"""Every tenant that owns rows has a mapping, or is allowed to have none."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_before import ROWS_BEFORE, mapping_of
from tenant_migration.integrity.sources.tables import (
    in_scope,
    key_is_one_of,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import verdict


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(row_count) FROM scan)"),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS unmapped").format(_unmapped(scope)),
        examples=sql.SQL(
            "ARRAY(SELECT u.key::text FROM ({}) AS u ORDER BY u.row_count DESC, u.key::text LIMIT {})"
        ).format(_unmapped(scope), sql.Literal(SAMPLE_LIMIT)),
        details=sql.SQL("jsonb_build_object('rows', (SELECT sum(u.row_count) FROM ({}) AS u))").format(
            _unmapped(scope)
        ),
    )


def _unmapped(scope: TableScope) -> sql.Composed:
    return sql.SQL(
        "SELECT scan.key, sum(scan.row_count) AS row_count FROM scan "
        "WHERE scan.key IS NOT NULL AND scan.tenant_id IS NULL AND NOT {allowed} GROUP BY scan.key"
    ).format(allowed=_is_allowed(scope, sql.Identifier("scan", "key")))


def _is_allowed(scope: TableScope, key: sql.Composable) -> sql.Composable:
    if not scope.allowed_unmapped_tenants:
        return sql.SQL("FALSE")
    return key_is_one_of(scope, key, scope.allowed_unmapped_tenants)


def _wrong_rows(scope: TableScope) -> sql.Composed:
    key = tenant_key(scope.table, "t")
    return sql.SQL(
        "SELECT {key}::text AS example, count(*) AS rows FROM {table} AS t LEFT JOIN ({mapping}) AS m ON "
        "{same_tenant} "
        "WHERE {key} IS NOT NULL AND m.key IS NULL AND {in_scope} AND NOT {allowed} GROUP BY {key}"
    ).format(
        key=key,
        table=table_name(scope.table),
        mapping=mapping_of(scope),
        same_tenant=same_tenant(scope, sql.Identifier("m", "key"), key),
        in_scope=in_scope(scope, "t"),
        allowed=_is_allowed(scope, key),
    )


CHECK = TableCheck(
    name="tenants_have_mapping",
    phase="pre-migration",
    severity="critical",
    description="Tenant IDs without organization mapping",
    recommendation="Map these tenants (`mappings --import`, `mappings --suggest`), or list those that may "
    "stay "
    "without an organization in validation.allowed_unmapped_tenants.",
    build=_build,
    source=ROWS_BEFORE,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.tenant_column.name,
)
