"""The statements by which runs are stopped and what they have under way is found. Builders are pure."""

from __future__ import annotations

from psycopg import sql

_WORKING = (
    "('pending', 'validating', 'running', 'paused', 'throttled', 'sweeping', 'verifying', 'rolling_back')"
)
"""States of a run, or of a table in it, that has not ended."""

_OURS = "starts_with(translate(a.application_name, '-', '_'), 'tenant_migration')"
"""What `database.connection.connect` names its connections, at this moment: behind a pooler a server process
bears the name of the client that it serves now."""

WORKING_RUNS = f"""
SELECT r.run_id, r.kind, r.actor, r.host, r.process_id, r.selection -> 'tables',
       EXISTS (SELECT FROM tenant_migration.leases AS l
               WHERE l.run_id = r.run_id AND l.expires_at > clock_timestamp())
FROM tenant_migration.runs AS r
WHERE r.state IN {_WORKING} AND r.finished_at IS NULL AND r.run_id <> ALL (%s::int8[])
ORDER BY r.run_id"""

CANCEL_RUNS = f"""
UPDATE tenant_migration.runs SET state = 'cancelled', actor = %(actor)s, reason = %(reason)s
WHERE run_id IN (SELECT run_id FROM tenant_migration.runs
                 WHERE run_id = ANY (%(runs)s::int8[]) AND state IN {_WORKING}
                 FOR NO KEY UPDATE SKIP LOCKED)"""
"""Never waits: the lock may be a frozen client's, whose server process is ended a moment later."""

CANCEL_TABLES = f"""
INSERT INTO tenant_migration.table_runs AS t (run_id, table_id, state, reason, actor)
SELECT run_id, table_id, 'cancelled', %(reason)s, %(actor)s
FROM unnest(%(runs)s::int8[]) AS run_id CROSS JOIN unnest(%(tables)s::int4[]) AS table_id
ON CONFLICT (run_id, table_id) DO UPDATE
SET state = 'cancelled', reason = excluded.reason, actor = excluded.actor WHERE t.state IN {_WORKING}"""
"""Also for a table that the run did not come to yet: its first look at the flags ends it."""

STILL_WORKING = f"""
SELECT run_id FROM tenant_migration.runs
WHERE run_id = ANY (%(runs)s::int8[]) AND state IN {_WORKING}"""

UNDER_WAY = f"""
SELECT held.run_id, held.backend_pid, held.backend_start, held.what, held.is_lease,
       a.pid IS NOT NULL AND a.backend_start IS NULL AS is_hidden,
       coalesce(a.backend_start = held.backend_start AND {_OURS}, false) AS is_alive,
       coalesce(a.state = 'active', false) AS is_active
FROM (SELECT run_id, table_id, backend_pid, backend_start, 'the work of ' || holder AS what, true AS is_lease
      FROM tenant_migration.leases
      UNION ALL
      SELECT run_id, table_id, backend_pid, backend_start, format('%%s (run %%s)', statement, run_id), false
      FROM tenant_migration.long_statements) AS held
LEFT JOIN pg_stat_activity AS a ON a.pid = held.backend_pid AND a.pid <> pg_backend_pid()
WHERE held.run_id = ANY (%(runs)s::int8[])
  AND (%(tables)s::int4[] IS NULL OR held.table_id IS NULL OR held.table_id = ANY (%(tables)s::int4[]))"""
"""Whoever may not see a foreign process's start may not end it either: it is `is_hidden`."""

TAKE_LEASES = """
DELETE FROM tenant_migration.leases
WHERE run_id = ANY (%(runs)s::int8[]) AND (%(tables)s::int4[] IS NULL OR table_id = ANY (%(tables)s::int4[]))
RETURNING holder"""

LEASES_LEFT = """
SELECT holder FROM tenant_migration.leases
WHERE run_id = ANY (%(runs)s::int8[])
  AND (%(tables)s::int4[] IS NULL OR table_id = ANY (%(tables)s::int4[]))"""

FORGET_STATEMENTS = """
DELETE FROM tenant_migration.long_statements AS s WHERE run_id = ANY (%(runs)s::int8[])
  AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = s.backend_pid
                  AND coalesce(a.backend_start = s.backend_start, true))"""

CLOSE_RUNS = """
UPDATE tenant_migration.runs SET finished_at = clock_timestamp()
WHERE run_id = ANY (%(runs)s::int8[]) AND finished_at IS NULL AND state = 'cancelled'"""


def end_process(function: str) -> sql.Composed:
    """Build the statement that cancels or ends one server process, if it still is what was registered.

    Args:
        function: `pg_cancel_backend` or `pg_terminate_backend`.
    """
    return sql.SQL(
        "SELECT {}(a.pid) FROM pg_stat_activity AS a WHERE a.pid = %s AND a.backend_start = %s AND "
        f"{_OURS} AND a.pid <> pg_backend_pid()"
    ).format(sql.Identifier("pg_catalog", function))
