"""Every row of a tenant that is recorded as migrated has an organization."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.recorded_rows import recorded_rows
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER
from tenant_migration.integrity.sources.tables import organization
from tenant_migration.integrity.verdict import judge_scan


def _build(scope: TableScope) -> Verdict:
    return judge_scan(
        sql.SQL("scan.organization_id IS NULL"), wrong_rows=_wrong_rows(scope), expected=EXPECTED_ROWS
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return recorded_rows(scope, sql.SQL("{} IS NULL").format(organization(scope, "t")))


CHECK = TableCheck(
    name="rows_have_organization",
    phase="post-migration",
    severity="critical",
    description="Rows without an organization although their tenant is recorded as migrated",
    recommendation="Run the migration of these tenants again: it fills what is missing. If the application "
    "goes on inserting rows without an organization, they need the sync trigger or its new release.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.organization_column,
)
