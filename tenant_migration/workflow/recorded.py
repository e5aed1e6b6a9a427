"""Reads which (table, tenant) pairs changed lately, and by which run, for reports outside the database."""

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


def changed_pairs(connection: psycopg.Connection, since: datetime | None) -> list[RecordedPair]:
    """Return the pairs that changed at or after a moment, oldest first; None: every pair ever touched."""
    with transaction(connection, read_only=True):
        return [RecordedPair(*row) for row in connection.execute(_CHANGED, {"since": since})]
