"""Rows that are the same in every column, in tables without a key: nothing tells them apart."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.tables import column, in_scope, row_key, table_name
from tenant_migration.integrity.verdict import first_examples, verdict


def _contents(scope: TableScope) -> sql.Composed:
    """Return a SELECT of (copies, example): one row for each content.

    The text of the whole row is hashed: it exists for every type, while json, xml and points have no hash of
    their own. Within one session the text of equal values is equal.
    """
    return sql.SQL(
        "SELECT count(*) AS copies, min({example}) AS example FROM {table} AS t "
        "WHERE {in_scope} GROUP BY md5(ROW({columns})::text)"
    ).format(
        example=row_key(scope.table, "t"),
        table=table_name(scope),
        in_scope=in_scope(scope, "t"),
        columns=sql.SQL(", ").join(
            column("t", preserved.name) for preserved in scope.table.preserved_columns
        ),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(
        "SELECT c.copies || ' times: ' || c.example AS example FROM ({}) AS c WHERE c.copies > 1"
    ).format(_contents(scope))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(c.copies)"),
        count=sql.SQL("sum(c.copies - 1)"),
        source=sql.SQL("({}) AS c").format(_contents(scope)),
        examples=first_examples(_wrong_rows(scope)),
    )


CHECK = TableCheck(
    name="identical_rows",
    phase="pre-migration",
    severity="warning",
    description="Rows that repeat another row in every column, in a table without a key",
    recommendation="Remove the repeated rows or add a key: such rows can be counted, not told apart.",
    build=_build,
    wrong_rows=_wrong_rows,
    not_applicable=lambda scope: "the table has a key" if scope.table.key_columns else None,
)
