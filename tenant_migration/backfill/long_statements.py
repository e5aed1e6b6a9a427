"""Who is inside a statement that takes longer than a batch: registered while it runs.

So that cancel and emergency stop can end it on the server when its client no longer answers, and say what
it is. A row is worth nothing once its server process is gone: pids come again, so its start counts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import psycopg

Backend = tuple[int, datetime]
"""A server process: its pid and when it started."""

# Not worth a wait for the disk: a crash of the server ends the statement too.
_REGISTER = """
WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO tenant_migration.long_statements (backend_pid, backend_start, run_id, table_id, statement)
SELECT own.pid, own.backend_start, %(run_id)s, %(table_id)s, %(statement)s
FROM quick CROSS JOIN pg_stat_get_activity(pg_backend_pid()) AS own
ON CONFLICT (backend_pid, backend_start) DO UPDATE
SET run_id = excluded.run_id, table_id = excluded.table_id, statement = excluded.statement,
    started_at = clock_timestamp()
RETURNING backend_pid, backend_start"""

_FORGET = """
WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM tenant_migration.long_statements
USING quick WHERE backend_pid = %s AND backend_start = %s"""

_NOTE_HOLDER = """
UPDATE tenant_migration.leases SET backend_pid = own.pid, backend_start = own.backend_start
FROM pg_stat_get_activity(pg_backend_pid()) AS own
WHERE token = ANY (%s::uuid[]) AND expires_at > clock_timestamp() RETURNING token"""


def register(
    connection: psycopg.Connection, *, run_id: int, table_id: int | None, statement: str
) -> Backend | None:
    """Note that this connection's server process is about to run a long statement, outside of a transaction.

    Args:
        connection: that will run it.
        run_id: whose statement it is.
        table_id: of the managed table; None: of several.
        statement: what it is, in words for people.

    Returns:
        What `forget` takes.
    """
    row = connection.execute(
        _REGISTER, {"run_id": run_id, "table_id": table_id, "statement": statement}
    ).fetchone()
    return None if row is None else (row[0], row[1])


def forget(connection: psycopg.Connection, backend: Backend) -> None:
    """Note that the statement ended. Any connection will do."""
    connection.execute(_FORGET, backend)


def note_holder(connection: psycopg.Connection, tokens: Sequence[UUID]) -> bool:
    """Note this connection's server process as the one that works under these leases; False: one is lost."""
    return len(connection.execute(_NOTE_HOLDER, (list(tokens),)).fetchall()) == len(tokens)
