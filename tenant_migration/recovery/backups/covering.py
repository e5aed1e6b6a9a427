"""Whether an earlier backup still holds what a migration is about to change."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.backups.listing import read_backups
from tenant_migration.recovery.results import Backup

# A pair that is being worked on, or whose process died, changes without its state saying since when.
_TOUCHED = """
SELECT EXISTS (
    SELECT FROM tenant_migration.table_states AS s JOIN tenant_migration.tenants AS n USING (tenant_number)
    WHERE s.table_id = ANY (%(table_ids)s::int4[])
      AND (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY (%(tenants)s::text[]))
      AND s.state IN ('validating', 'running', 'paused', 'throttled', 'sweeping', 'verifying',
                      'rolling_back'))
OR EXISTS (
    SELECT FROM tenant_migration.state_log AS g JOIN tenant_migration.tenants AS n USING (tenant_number)
    WHERE g.table_id = ANY (%(table_ids)s::int4[]) AND g.occurred_at >= %(since)s
      AND (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY (%(tenants)s::text[]))
      AND g.to_state IN ('rolling_back', 'rolled_back', 'pending'))"""

_WRITTEN = """
SELECT EXISTS (
    SELECT FROM {} AS j
    WHERE j.phase <> 'kept' AND NOT pg_visible_in_snapshot(j.xid, %(snapshot)s::pg_snapshot)
      AND (%(tenants)s::text[] IS NULL OR j.tenant_numbers && ARRAY(
          SELECT n.tenant_number FROM tenant_migration.tenants AS n
          WHERE n.tenant_id = ANY (%(tenants)s::text[]))))"""


def find_covering(
    connection: psycopg.Connection, table_ids: Sequence[int], tenants: Sequence[str] | None
) -> Backup | None:
    """Return the newest backup that holds all of these tables and tenants as they are for us, or None.

    It is complete and verified, and nothing of them was migrated or rolled back since its snapshot: no batch
    of a journal that the snapshot does not have, no rollback or reset since, nothing under way.

    Args:
        connection: outside of a transaction.
        table_ids: of the managed tables.
        tenants: None: whole tables.
    """
    with transaction(connection, read_only=True, row_security=True, isolation="repeatable read"):
        for backup in read_backups(connection):
            if _holds(backup, table_ids, tenants) and not _is_touched(connection, backup, table_ids, tenants):
                return backup
    return None


def _holds(backup: Backup, table_ids: Sequence[int], tenants: Sequence[str] | None) -> bool:
    if not backup.verified or not set(table_ids) <= {table.table_id for table in backup.tables}:
        return False
    return backup.tenants is None or (tenants is not None and set(tenants) <= set(backup.tenants))


def _is_touched(
    connection: psycopg.Connection, backup: Backup, table_ids: Sequence[int], tenants: Sequence[str] | None
) -> bool:
    parameters = {
        "table_ids": list(table_ids),
        "tenants": None if tenants is None else list(tenants),
        "since": backup.created_at,
        "snapshot": backup.snapshot,
    }
    row = connection.execute(_TOUCHED, parameters).fetchone()
    if row is None or row[0]:
        return True
    journals = connection.execute(
        "SELECT substr(relname, 9)::int4 FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
        " AND relname = ANY (%s)",
        ([f"journal_{table_id}" for table_id in table_ids],),
    ).fetchall()
    for (table_id,) in journals:
        row = connection.execute(sql.SQL(_WRITTEN).format(journal_name(table_id)), parameters).fetchone()
        if row is None or row[0]:
            return True
    return False
