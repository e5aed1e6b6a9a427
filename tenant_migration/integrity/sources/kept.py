"""Whether a row's organization is a value that was recorded before the run and left alone."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.journal import kept_rows, same_row
from tenant_migration.integrity.sources.rows_after import recorded_pairs
from tenant_migration.integrity.sources.tables import organization


def is_kept(scope: TableScope, row: str, recorded: str) -> sql.Composable:
    """Return the condition that a row's organization is a kept value.

    A row without a key cannot be found again by what the journal recorded; there any other value than the
    mapped one is taken for a kept one while the tenant has any.

    Args:
        scope: the row's table.
        row: alias of the table.
        recorded: alias of its tenant's row of `recorded_pairs`.
    """
    if scope.facts.kept_rows == 0 or not scope.facts.has_journal:
        return sql.SQL("FALSE")
    if not scope.table.key_columns:
        return sql.SQL("{0}.rows_kept > 0 AND {1} IS DISTINCT FROM {0}.mapped").format(
            sql.Identifier(recorded), organization(scope, row)
        )
    return sql.SQL(
        "EXISTS (SELECT FROM ({kept}) AS k WHERE {same_row} AND k.kept_value = {organization})"
    ).format(
        kept=kept_rows(scope, sql.SQL("({}) AS r").format(recorded_pairs(scope))),
        same_row=same_row(scope, row, "k"),
        organization=organization(scope, row),
    )
