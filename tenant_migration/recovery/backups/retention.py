"""Why a backup is kept: by the database's clock and by what a rollback could still need, never by names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg

from tenant_migration.planning.counted import counted
from tenant_migration.recovery.backups.listing import read_backups
from tenant_migration.recovery.results import Backup

BEGUN_WITHIN = timedelta(minutes=15)
"""A migration that counts on a backup has opened its run by then, or its process died before."""

# Of each pair that may carry values written by us: the newest backup with its rows, and the newest one of
# before it was first written to (since it was last rolled back). A pair whose process died may have rows that
# nobody counted yet, so its state counts too.
_NEEDED = """
WITH live AS MATERIALIZED (
    SELECT s.table_id, s.tenant_number, n.tenant_id, s.updated_at
    FROM tenant_migration.table_states AS s JOIN tenant_migration.tenants AS n USING (tenant_number)
    WHERE s.rows_migrated > 0 OR s.state NOT IN ('pending', 'completed', 'blocked', 'rolled_back')),
taken_back AS (
    SELECT table_id, tenant_number, max(log_id) AS log_id FROM tenant_migration.state_log
    WHERE to_state IN ('rolled_back', 'pending') AND tenant_number IS NOT NULL
    GROUP BY table_id, tenant_number),
begun AS MATERIALIZED (
    SELECT l.table_id, l.tenant_number, l.tenant_id,
           coalesce(min(g.occurred_at), min(l.updated_at)) AS at
    FROM live AS l
    LEFT JOIN taken_back AS b USING (table_id, tenant_number)
    LEFT JOIN tenant_migration.state_log AS g
           ON g.table_id = l.table_id AND g.tenant_number = l.tenant_number AND g.to_state = 'running'
          AND g.log_id > coalesce(b.log_id, 0)
    GROUP BY l.table_id, l.tenant_number, l.tenant_id),
parts AS (
    SELECT p.table_id, b.backup_id, b.created_at, tenant.tenant_id
    FROM tenant_migration.backed_up_tables AS p JOIN tenant_migration.backups AS b USING (backup_id)
    LEFT JOIN LATERAL unnest(b.tenants) AS tenant (tenant_id) ON true
    WHERE b.backup_id = ANY (%s::int8[]) AND (b.tenants IS NULL OR tenant.tenant_id IS NOT NULL)),
covering AS (
    SELECT g.table_id, g.tenant_number, g.at, p.backup_id, p.created_at
    FROM begun AS g JOIN parts AS p ON p.table_id = g.table_id AND p.tenant_id = g.tenant_id
    UNION ALL
    SELECT g.table_id, g.tenant_number, g.at, p.backup_id, p.created_at
    FROM begun AS g JOIN parts AS p ON p.table_id = g.table_id AND p.tenant_id IS NULL),
newest AS (
    SELECT table_id, tenant_number,
           (array_agg(backup_id ORDER BY created_at DESC, backup_id DESC))[1] AS of_all,
           (array_agg(backup_id ORDER BY created_at DESC, backup_id DESC)
            FILTER (WHERE created_at <= at))[1] AS of_before
    FROM covering GROUP BY table_id, tenant_number)
SELECT needed.backup_id, m.table_schema || '.' || m.table_name, count(DISTINCT n.tenant_number)
FROM newest AS n CROSS JOIN LATERAL (VALUES (n.of_all), (n.of_before)) AS needed (backup_id)
JOIN tenant_migration.managed_tables AS m USING (table_id)
WHERE needed.backup_id IS NOT NULL
GROUP BY needed.backup_id, m.table_schema, m.table_name, m.position ORDER BY 1, m.position, 2"""

_RELIED_ON = """
SELECT u.backup_id, min(u.run_id)
FROM tenant_migration.relied_on_backups AS u LEFT JOIN tenant_migration.runs AS r USING (run_id)
WHERE (%(backup_id)s::int8 IS NULL OR u.backup_id = %(backup_id)s)
  AND (u.run_id IS NULL AND u.relied_on_at > clock_timestamp() - %(begun_within)s::interval
       OR u.run_id IS NOT NULL AND r.finished_at IS NULL)
GROUP BY u.backup_id"""


def relied_on(connection: psycopg.Connection, backup_id: int | None = None) -> dict[int, int | None]:
    """Return the backups that an open migration counts on, with a run; None: it has not opened one yet.

    Args:
        connection: any.
        backup_id: only this one.
    """
    parameters = {"backup_id": backup_id, "begun_within": BEGUN_WITHIN}
    return dict(connection.execute(_RELIED_ON, parameters).fetchall())


def judge(connection: psycopg.Connection, *, days: int) -> list[Backup]:
    """Return the backups, newest first, each with why a cleanup of `days` days would keep it.

    Part of a transaction of one snapshot, as `read_backups`.
    """
    backups = read_backups(connection)
    verified = [backup.backup_id for backup in backups if backup.verified]
    needed: dict[int, list[tuple[str, int]]] = {}
    for backup_id, table, tenants in connection.execute(_NEEDED, (verified,)).fetchall():
        needed.setdefault(backup_id, []).append((table, tenants))
    counting = {number: _counting(run_id) for number, run_id in relied_on(connection).items()}
    return [
        replace(
            backup,
            kept_because=_reason(
                backup,
                needed.get(backup.backup_id, ()),
                counting.get(backup.backup_id),
                timedelta(days=days),
            ),
        )
        for backup in backups
    ]


def _counting(run_id: int | None) -> str:
    who = "a migration that is about to start" if run_id is None else f"run {run_id}, which has not ended,"
    return f"{who} counts on it"


def _reason(
    backup: Backup, needed: Sequence[tuple[str, int]], counting: str | None, longest: timedelta
) -> str | None:
    reason: str | None = None
    if backup.held_by is not None:
        reason = f"held by {backup.held_by}"
    elif backup.tables and all(table.missing for table in backup.tables):
        pass  # somebody else dropped it: nothing is left that could be lost
    elif not backup.verified:
        damaged = ", ".join(table.table for table in backup.tables if not table.verified)
        reason = f"not verified, or damaged since: {damaged}; a person has to look at it"
    elif needed:
        tables = ", ".join(f"{table} ({counted(tenants, 'migrated tenant')})" for table, tenants in needed)
        reason = f"a rollback could still need it: {tables}"
    elif counting is not None:
        reason = counting
    elif backup.age < longest:
        reason = f"younger than {counted(longest.days, 'day')}"
    return reason
