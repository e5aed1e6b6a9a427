"""Every row of a tenant that is recorded as migrated has an organization."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER, recorded_pairs
from tenant_migration.integrity.sources.tables import (
    in_scope,
    organization,
    row_key,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import judge_scan


def _build(scope: TableScope) -> Verdict:
    return judge_scan(
        sql.SQL("scan.organization_id IS NULL"), wrong_rows=_wrong_rows(scope), expected=EXPECTED_ROWS
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(
        "SELECT {example} AS example, r.tenant_id FROM {table} AS t JOIN ({recorded}) AS r ON {same_tenant} "
        "WHERE {organization} IS NULL AND {in_scope}"
    ).format(
        example=row_key(scope.table, "t"),
        table=table_name(scope.table),
        recorded=recorded_pairs(scope),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier("r", "key")),
        organization=organization(scope, "t"),
        in_scope=in_scope(scope, "t"),
    )


CHECK = TableCheck(
    name="rows_have_organization",
    phase="post-migration",
    severity="critical",
    description="Rows without an organization although their tenant is recorded as migrated",
    recommendation="Run the migration of these tenants again: it fills only what is missing. Rows that the "
    "application goes on inserting without an organization need the sync trigger, or the new release of "
    "the application.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.organization_column,
)
