"""Foreign keys of the table that PostgreSQL has not validated: before, information about what is there."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.catalog import MEMBERS, OF_MEMBERS, table_and_partitions
from tenant_migration.integrity.verdict import first_examples, verdict

# Each as it was declared, on the table or on one of its partitions: PostgreSQL keeps a copy for every
# partition on either side.
_DECLARED = """
SELECT k.conname::text AS example, k.convalidated FROM pg_constraint AS k
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid IN ({relations})
"""


def _declared(relations: sql.Composed) -> sql.Composed:
    return sql.SQL(_DECLARED).format(relations=relations)


def _not_valid(relations: sql.Composed) -> sql.Composed:
    return sql.SQL("SELECT d.example FROM ({}) AS d WHERE NOT d.convalidated").format(_declared(relations))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE NOT d.convalidated)"),
        source=sql.SQL("({}) AS d").format(_declared(OF_MEMBERS)),
        examples=first_examples(_not_valid(OF_MEMBERS)),
    )


CHECK = TableCheck(
    name="foreign_keys_valid",
    phase="pre-migration",
    severity="info",
    description="Foreign keys that are NOT VALID",
    recommendation="Repair the orphans, then ALTER TABLE ... VALIDATE CONSTRAINT.",
    examples_are_names=True,
    build=_build,
    source=MEMBERS,
    wrong_rows=lambda scope: _not_valid(table_and_partitions(scope.table)),
)
