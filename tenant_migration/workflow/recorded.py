"""Reads what the database records of (table, tenant) pairs, and by which run, for reports outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from tenant_migration.database.connection import transaction

_CHANGED = """
    SELECT t.table_schema || '.' || t.table_name, n.tenant_id, s.state, s.reason, s.rows_migrated,
           s.updated_at, r.run_id, r.dagster_run_id
    FROM tenant_migration.table_states s
    JOIN tenant_migration.tenants n USING (tenant_number)
    JOIN tenant_migration.managed_tables t USING (table_id)
    LEFT JOIN tenant_migration.runs r USING (run_id)
    WHERE t.retired_at IS NULL AND (%(since)s::timestamptz IS NULL OR s.updated_at >= %(since)s::timestamptz)
    ORDER BY s.updated_at
"""

_UNFINISHED = """
    SELECT n.tenant_id, coalesce(s.state, 'pending'), s.reason, r.dagster_run_id
    FROM tenant_migration.tenants n
    CROSS JOIN tenant_migration.managed_tables t
    LEFT JOIN tenant_migration.table_states s USING (table_id, tenant_number)
    LEFT JOIN tenant_migration.runs r USING (run_id)
    WHERE t.retired_at IS NULL AND t.table_schema || '.' || t.table_name = %s
      AND s.state IS DISTINCT FROM 'completed'
"""


@dataclass(frozen=True)
class RecordedPair:
    """A pair of table and tenant as the database has it."""

    table: str
    tenant_id: str
    state: str
    reason: str | None
    rows_migrated: int
    updated_at: datetime
    run_id: int | None
    dagster_run_id: str | None
    """The Dagster run that did it; None: the Python API, or SQL."""


@dataclass(frozen=True)
class UnfinishedPair:
    """A tenant for which a table is not completed; without a state, it is pending."""

    tenant_id: str
    state: str
    reason: str | None
    dagster_run_id: str | None


def changed_pairs(
    connection: psycopg.Connection, since: datetime | None
) -> tuple[list[RecordedPair], datetime]:
    """Return the pairs that changed at or after a moment, oldest first, and the moment of this reading.

    Args:
        connection: to the database.
        since: by the database's clock; None: every pair ever touched.
    """
    with transaction(connection, read_only=True):
        [(now,)] = connection.execute("SELECT clock_timestamp()")
        return [RecordedPair(*row) for row in connection.execute(_CHANGED, {"since": since})], now


def unfinished_pairs(connection: psycopg.Connection, table: str) -> list[UnfinishedPair]:
    """Return every known tenant for which a table is not completed."""
    with transaction(connection, read_only=True):
        return [UnfinishedPair(*row) for row in connection.execute(_UNFINISHED, [table])]
