"""Rows that refer to a row that does not exist, over every relation, NOT VALID and configured ones too."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import RelationCheck, Verdict
from tenant_migration.integrity.scope import RelationScope
from tenant_migration.integrity.sources.references import REFERENCES_BEFORE, expected_before, joined, refers
from tenant_migration.integrity.sources.tables import row_key
from tenant_migration.integrity.verdict import first_examples, verdict

_WRONG_ROWS = """
SELECT {example} AS example FROM {child} AS c
WHERE {refers} AND {in_scope} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {refers_to})
"""


def _build(scope: RelationScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(pairs.total)"),
        count=sql.SQL("sum(pairs.orphans)"),
        source=sql.SQL("pairs"),
        expected=expected_before(scope),
        examples=first_examples(_wrong_rows(scope)),
    )


def _wrong_rows(scope: RelationScope) -> sql.Composed:
    return sql.SQL(_WRONG_ROWS).format(
        example=row_key(scope.child.table, "c"), refers=refers(scope, "c"), **joined(scope)
    )


CHECK = RelationCheck(
    name="orphans",
    phase="pre-migration",
    severity="warning",
    description="Rows that refer to a row that does not exist",
    recommendation="Delete or repair these rows before the migration: they are migrated by their own tenant, "
    "but the reference cannot be validated.",
    build=_build,
    source=REFERENCES_BEFORE,
    wrong_rows=_wrong_rows,
)
