"""The organizations that mappings and rows name are there. Asked of the mapping before, of the rows after."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope, TableScope, nothing_recorded
from tenant_migration.integrity.sources.recorded_rows import recorded_rows
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER
from tenant_migration.integrity.sources.tables import column, mappings, organization, tenant_is_in_scope
from tenant_migration.integrity.verdict import judge_scan, tenants_detail, verdict
from tenant_migration.planning.model import Plan

_NAME = "organizations_exist"


def _organization_is_missing(plan: Plan, organization_id: sql.Composable) -> sql.Composed:
    return sql.SQL("NOT EXISTS (SELECT FROM {organizations} AS o WHERE {id} = {organization_id})").format(
        organizations=sql.Identifier(plan.organizations.schema_name, plan.organizations.table_name),
        id=column("o", plan.organizations.id_column),
        organization_id=organization_id,
    )


def _build_before(scope: DatabaseScope) -> Verdict:
    missing = _organization_is_missing(scope.plan, sql.Identifier("m", "organization_id"))
    wrong = _wrong_mappings(scope)
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE {})").format(missing),
        source=sql.SQL("{} AS m WHERE {}").format(
            mappings(scope.plan.interface_schema),
            tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
        ),
        expected=sql.Literal(None if scope.tenants is None else len(scope.tenants)),
        examples=sql.SQL("ARRAY(SELECT w.tenant_id FROM ({}) AS w ORDER BY 1 LIMIT {})").format(
            wrong, sql.Literal(SAMPLE_LIMIT)
        ),
        details=tenants_detail(sql.SQL("SELECT w.tenant_id, 1 AS wrong FROM ({}) AS w").format(wrong)),
    )


def _wrong_mappings(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL(
        "SELECT m.tenant_id, m.organization_id FROM {mappings} AS m WHERE {missing} AND {tenants}"
    ).format(
        mappings=mappings(scope.plan.interface_schema),
        missing=_organization_is_missing(scope.plan, sql.Identifier("m", "organization_id")),
        tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
    )


def _build_after(scope: TableScope) -> Verdict:
    missing = _organization_is_missing(scope.plan, sql.Identifier("scan", "organization_id"))
    return judge_scan(
        sql.SQL("scan.organization_id IS NOT NULL AND {}").format(missing),
        wrong_rows=_wrong_rows(scope),
        expected=EXPECTED_ROWS,
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    ours = organization(scope, "t")
    missing = _organization_is_missing(scope.plan, ours)
    return recorded_rows(scope, sql.SQL("{} IS NOT NULL AND {}").format(ours, missing))


BEFORE = DatabaseCheck(
    name=_NAME,
    phase="pre-migration",
    severity="critical",
    description="Tenants mapped to an organization that does not exist",
    recommendation="Create these organizations, or correct the mapping (`mappings --import`).",
    examples_are_names=True,
    build=_build_before,
    wrong_rows=_wrong_mappings,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
)

AFTER = TableCheck(
    name=_NAME,
    phase="post-migration",
    severity="critical",
    description="Rows whose organization does not exist",
    recommendation="Restore the deleted organizations; their id is in the rows.",
    build=_build_after,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.organization_column,
)
