"""Tenants that would go to an organization that is not active; where the organizations say such a thing."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.tables import mappings, tenant_is_in_scope
from tenant_migration.integrity.verdict import tenants_detail, verdict

# An organization that does not exist is a finding of its own; one that says neither yes nor no is not active.
_MAPPED = """
SELECT m.tenant_id, m.organization_id, o.{active} IS NOT TRUE AS is_inactive
FROM {mappings} AS m JOIN {organizations} AS o ON o.{id} = m.organization_id WHERE {tenants}
"""


def _mapped(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL(_MAPPED).format(
        active=sql.Identifier(scope.organizations.active_column or ""),
        id=sql.Identifier(scope.organizations.id_column),
        organizations=sql.Identifier(scope.organizations.schema_name, scope.organizations.table_name),
        mappings=mappings(scope.plan.interface_schema),
        tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
    )


def _wrong_rows(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL("SELECT d.tenant_id, d.organization_id FROM ({}) AS d WHERE d.is_inactive").format(
        _mapped(scope)
    )


def _build(scope: DatabaseScope) -> Verdict:
    wrong = _wrong_rows(scope)
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE d.is_inactive)"),
        source=sql.SQL("({}) AS d").format(_mapped(scope)),
        examples=sql.SQL("ARRAY(SELECT w.tenant_id FROM ({}) AS w ORDER BY 1 LIMIT {})").format(
            wrong, sql.Literal(SAMPLE_LIMIT)
        ),
        details=tenants_detail(sql.SQL("SELECT w.tenant_id, 1 AS wrong FROM ({}) AS w").format(wrong)),
    )


CHECK = DatabaseCheck(
    name="organizations_active",
    phase="pre-migration",
    severity="warning",
    description="Tenants mapped to an organization that is not active",
    recommendation="Look whether these tenants shall still go there; correct the mapping or activate the "
    "organization.",
    examples_are_names=True,
    build=_build,
    wrong_rows=_wrong_rows,
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
    not_applicable=lambda scope: (
        None if scope.organizations.active_column else "the configuration names no organizations.active"
    ),
)
