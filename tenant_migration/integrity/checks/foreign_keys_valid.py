"""Foreign keys of the table that PostgreSQL has not validated: before, information about what is there."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.catalog import table_oid
from tenant_migration.integrity.verdict import first_examples, verdict


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE NOT k.convalidated)"),
        source=sql.SQL("pg_constraint AS k WHERE k.contype = 'f' AND k.conrelid = {}").format(
            table_oid(scope.table)
        ),
        examples=first_examples(_wrong_rows(scope)),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(
        "SELECT k.conname::text AS example FROM pg_constraint AS k "
        "WHERE k.contype = 'f' AND NOT k.convalidated AND k.conrelid = {}"
    ).format(table_oid(scope.table))


CHECK = TableCheck(
    name="foreign_keys_valid",
    phase="pre-migration",
    severity="info",
    description="Foreign keys that are NOT VALID",
    recommendation="Repair the orphans, then ALTER TABLE ... VALIDATE CONSTRAINT.",
    build=_build,
    wrong_rows=_wrong_rows,
)
