"""Rows without a tenant: legitimate in many schemas (shared rows), and never filled."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_before import ROWS_BEFORE
from tenant_migration.integrity.sources.tables import column, row_key, table_name
from tenant_migration.integrity.verdict import judge_scan


def _build(scope: TableScope) -> Verdict:
    return judge_scan(sql.SQL("scan.key IS NULL"), wrong_rows=_wrong_rows(scope), by_tenant=False)


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("SELECT {example} AS example FROM {table} AS t WHERE {key} IS NULL").format(
        example=row_key(scope.table, "t"),
        table=table_name(scope),
        key=column("t", scope.table.tenant_column.name),
    )


def _severity(scope: TableScope) -> SeverityLevel:
    return "critical" if scope.table.settings.tenant_required else "warning"


def _not_applicable(scope: TableScope) -> str | None:
    return (
        "rows without a tenant belong to none of the tenants asked about"
        if scope.tenants is not None
        else None
    )


CHECK = TableCheck(
    name="null_tenant_keys",
    phase="pre-migration",
    severity="warning",
    description="Rows without a tenant; they stay without an organization",
    recommendation="Give these rows their tenant before the migration, or leave them: they are not touched. "
    "`tenant_required: true` makes such rows critical.",
    build=_build,
    source=ROWS_BEFORE,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.tenant_column.name,
    severity_in=_severity,
    not_applicable=_not_applicable,
)
