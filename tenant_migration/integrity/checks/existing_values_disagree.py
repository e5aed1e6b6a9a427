"""Rows that have an organization already, and not the mapped one."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_before import ROWS_BEFORE, mapping_of
from tenant_migration.integrity.sources.tables import (
    in_scope,
    organization,
    row_key,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import judge_scan

_WRONG_ROWS = """
SELECT {example} AS example FROM {table} AS t JOIN ({mapping}) AS m ON {same_tenant}
WHERE {organization} <> m.organization_id AND {in_scope}
"""


def _build(scope: TableScope) -> Verdict:
    return judge_scan(sql.SQL("scan.organization_id <> scan.mapped"), wrong_rows=_wrong_rows(scope))


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(_WRONG_ROWS).format(
        example=row_key(scope.table, "t"),
        table=table_name(scope),
        mapping=mapping_of(scope),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier("m", "key")),
        organization=organization(scope, "t"),
        in_scope=in_scope(scope, "t"),
    )


def _severity(scope: TableScope) -> SeverityLevel:
    return "critical" if scope.table.settings.on_existing_value == "refuse" else "warning"


CHECK = TableCheck(
    name="existing_values_disagree",
    phase="pre-migration",
    severity="critical",
    description="Rows that have another organization than the mapping says",
    recommendation="Decide with `on_existing_value` of the table: `keep` leaves and records such "
    "values, `overwrite` replaces them and journals what they were; or correct the mapping.",
    build=_build,
    source=ROWS_BEFORE,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.organization_column,
    severity_in=_severity,
)
