"""Every organization's parent is there: where no foreign key guards them, a deleted one leaves a hole."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.verdict import first_examples, verdict

_PARENTLESS = """
SELECT o.{id}::text AS example, o.{parent_id} AS missing_parent FROM {table} AS o
WHERE o.{parent_id} IS NOT NULL AND NOT EXISTS (SELECT FROM {table} AS p WHERE p.{id} = o.{parent_id})
"""


def _names(scope: DatabaseScope) -> dict[str, sql.Composable]:
    return {
        "id": sql.Identifier(scope.organizations.id_column),
        "parent_id": sql.Identifier(scope.organizations.parent_id_column or ""),
        "table": sql.Identifier(scope.organizations.schema_name, scope.organizations.table_name),
    }


def _wrong_rows(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL(_PARENTLESS).format(**_names(scope))


def _build(scope: DatabaseScope) -> Verdict:
    wrong = _wrong_rows(scope)
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(_names(scope)["table"]),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS w").format(wrong),
        examples=first_examples(wrong),
    )


CHECK = DatabaseCheck(
    name="organization_parents",
    phase="post-migration",
    severity="warning",
    description="Organizations whose parent does not exist",
    recommendation="Restore the parent, or give these organizations another one, or none.",
    build=_build,
    wrong_rows=_wrong_rows,
    about=lambda scope: f"{scope.organizations.schema_name}.{scope.organizations.table_name}",
    not_applicable=lambda scope: (
        None if scope.organizations.parent_id_column else "the organizations have no parent column"
    ),
)
