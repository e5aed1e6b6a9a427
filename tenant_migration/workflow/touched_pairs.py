"""Reads which (table, tenant) pairs have something to take back, and which had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.journal import count_rows, journal_exists
from tenant_migration.database.connection import transaction

# Touched: as the run of a rollback sees it (`recovery.runs`).
_PAIRS = """
    SELECT t.table_schema || '.' || t.table_name, t.table_id, n.tenant_id, n.tenant_number, s.state,
           s.rows_migrated,
           s.rows_migrated > 0 OR s.rows_kept > 0 OR s.state NOT IN ('pending', 'rolled_back'),
           s.rows_migrated > 0 OR s.rows_kept > 0
               OR s.state NOT IN ('pending', 'rolled_back', 'validating', 'failed', 'blocked', 'cancelled')
    FROM tenant_migration.table_states s
    JOIN tenant_migration.tenants n USING (tenant_number)
    JOIN tenant_migration.managed_tables t USING (table_id)
    WHERE t.retired_at IS NULL AND t.table_schema || '.' || t.table_name = ANY(%(tables)s)
      AND (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY(%(tenants)s::text[]))
    ORDER BY n.tenant_number
"""


@dataclass(frozen=True)
class Pair:
    """A table and a tenant of which a run was ever asked something."""

    table: str
    tenant_id: str
    tenant_number: int
    state: str
    rows_migrated: int
    """As recorded: a process that was killed leaves an earlier count behind."""
    is_touched: bool
    """Whether a rollback has to look at it."""
    is_written: bool
    """Whether rows were, or may have been, written or recorded for it, and are not taken back."""

    @property
    def is_rolled_back(self) -> bool:
        """Whether it was migrated once and nothing is left to take back."""
        return self.state == "rolled_back" and not self.is_touched


def read_pairs(
    connection: psycopg.Connection, tables: Sequence[str], tenants: Sequence[str] | None
) -> list[Pair]:
    """Return the recorded pairs of these tables (`schema.table`), and of these tenants or all.

    A pair whose state does not say whether rows were written (a failed one, for example, with a count that a
    killed process left at 0) is looked up in its table's journal.
    """
    with transaction(connection, read_only=True):
        rows = connection.execute(
            _PAIRS, {"tables": list(tables), "tenants": None if tenants is None else list(tenants)}
        ).fetchall()
    unclear: dict[int, list[int]] = {}
    for _, table_id, _, number, _, _, touched, written in rows:
        if touched and not written:
            unclear.setdefault(table_id, []).append(number)
    journaled = {
        (table_id, number)
        for table_id, numbers in unclear.items()
        if journal_exists(connection, table_id)
        for number, count in count_rows(connection, table_id, run_id=0, tenants=numbers).by_all_runs.items()
        if count
    }
    return [
        Pair(
            table,
            tenant,
            number,
            state,
            count,
            is_touched=touched,
            is_written=written or (table_id, number) in journaled,
        )
        for table, table_id, tenant, number, state, count, touched, written in rows
    ]
