"""Organizations that share a slug: a mapping made by slug may name the wrong one."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.verdict import first_examples, verdict


def _slugs(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL(
        "SELECT o.{slug}::text AS example, count(*) AS organizations FROM {table} AS o "
        "WHERE o.{slug} IS NOT NULL GROUP BY o.{slug}::text"
    ).format(
        slug=sql.Identifier(scope.organizations.slug_column or ""),
        table=sql.Identifier(scope.organizations.schema_name, scope.organizations.table_name),
    )


def _wrong_rows(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL("SELECT s.example, s.organizations FROM ({}) AS s WHERE s.organizations > 1").format(
        _slugs(scope)
    )


def _build(scope: DatabaseScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(s.organizations)"),
        count=sql.SQL("count(*) FILTER (WHERE s.organizations > 1)"),
        source=sql.SQL("({}) AS s").format(_slugs(scope)),
        examples=first_examples(_wrong_rows(scope)),
    )


def _not_applicable(scope: DatabaseScope) -> str | None:
    if scope.organizations.slug_column is None:
        return "the organizations have no slug column"
    return "slugs are no matter of single tenants" if scope.tenants is not None else None


CHECK = DatabaseCheck(
    name="duplicate_slugs",
    phase="pre-migration",
    severity="warning",
    description="Slugs that several organizations share",
    recommendation="Check the mappings of tenants with such a slug: `mappings --suggest` cannot tell them "
    "apart.",
    build=_build,
    wrong_rows=_wrong_rows,
    about=lambda scope: f"{scope.organizations.schema_name}.{scope.organizations.table_name}",
    not_applicable=_not_applicable,
)
