"""Finds complete backups of which the audit log has nothing: their process was killed in between.

The record cannot be part of the backup's own transaction: that one reads an old snapshot, and the log's next
link hangs on its newest row.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tenant_migration.database.connection import transaction

_UNRECORDED = """
SELECT b.backup_id, b.run_id, b.created_by, b.tenants,
       array_agg(m.table_schema || '.' || m.table_name ORDER BY m.position), sum(t.row_count)::bigint
FROM tenant_migration.backups AS b
JOIN tenant_migration.backed_up_tables AS t USING (backup_id)
JOIN tenant_migration.managed_tables AS m USING (table_id)
WHERE b.state = 'complete'
  AND NOT EXISTS (SELECT FROM tenant_migration.migration_audit_log AS l
                  WHERE l.operation = 'backup' AND l.run_id = b.run_id)
  AND NOT EXISTS (SELECT FROM pg_stat_activity AS a
                  WHERE a.pid = b.backend_pid AND a.pid <> pg_backend_pid()
                    AND coalesce(a.backend_start, b.backend_start) = b.backend_start)
GROUP BY b.backup_id ORDER BY b.backup_id"""


@dataclass(frozen=True)
class Unrecorded:
    """A complete backup that nobody wrote down."""

    backup_id: int
    run_id: int
    created_by: str
    tenants: list[str] | None
    tables: list[str]
    rows: int


def unrecorded_backups(connection: psycopg.Connection) -> list[Unrecorded]:
    """Return complete backups without an audit record whose maker is gone."""
    with transaction(connection, read_only=True, row_security=True):
        return [Unrecorded(*row) for row in connection.execute(_UNRECORDED)]
