"""Columns that PostgreSQL computes: from the organization or from the tenant key, or the target itself."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.catalog import MEMBERS
from tenant_migration.integrity.verdict import first_examples, verdict

_COMPUTED = """
SELECT a.attname::text AS example, pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attgenerated <> '' AND (a.attname = {organization} OR EXISTS (
           SELECT FROM pg_depend AS p
           JOIN pg_attribute AS s ON s.attrelid = p.refobjid AND s.attnum = p.refobjsubid
           WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refobjid = a.attrelid
             AND s.attname IN ({organization}, {tenant}) AND s.attnum <> a.attnum)) AS is_told
FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = {table}::regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND (a.attgenerated <> '' OR a.attidentity <> '')
"""

_IDENTITY = """
jsonb_build_object('identity_columns', ARRAY(
    SELECT a.attname::text FROM pg_attribute AS a
    WHERE a.attrelid = {}::regclass AND a.attidentity <> '' AND NOT a.attisdropped ORDER BY a.attnum))
"""


def _table(scope: TableScope) -> sql.Literal:
    return sql.Literal(sql.Identifier(scope.table.schema_name, scope.table.table_name).as_string(None))


def _computed(scope: TableScope) -> sql.Composed:
    return sql.SQL(_COMPUTED).format(
        organization=sql.Literal(scope.table.organization_column),
        tenant=sql.Literal(scope.table.tenant_column.name),
        table=_table(scope),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("SELECT c.example, c.expression FROM ({}) AS c WHERE c.is_told").format(_computed(scope))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE c.is_told)"),
        source=sql.SQL("({}) AS c").format(_computed(scope)),
        examples=first_examples(_wrong_rows(scope)),
        details=sql.SQL(_IDENTITY).format(_table(scope)),
        details_when_passed=True,
    )


def _severity(scope: TableScope) -> SeverityLevel:
    return "critical" if scope.structure.organization_column_is_generated else "info"


CHECK = TableCheck(
    name="generated_columns",
    phase="pre-migration",
    severity="info",
    description="Generated columns that are the target, or are computed from it or from the tenant key",
    recommendation="A generated organization column cannot be written: make it an ordinary one, or name "
    "another with `organization_id_column`. What is computed from the organization follows it; what is "
    "computed from the tenant key stays as it is.",
    build=_build,
    source=MEMBERS,
    wrong_rows=_wrong_rows,
    severity_in=_severity,
)
