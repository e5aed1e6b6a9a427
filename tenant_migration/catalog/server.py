"""Reads facts of the server and of the connected role."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Server

_SERVER = """
SELECT current_setting('server_version_num')::int AS version, current_database()::text AS database,
       r.rolname::text AS role, r.rolsuper AS is_superuser, r.rolbypassrls AS bypasses_row_security,
       pg_is_in_recovery() AS in_recovery, current_setting('block_size')::int AS block_size,
       ARRAY(SELECT t.evtname::text FROM pg_event_trigger t WHERE t.evtenabled <> 'D' ORDER BY 1)
           AS event_triggers
  FROM pg_roles r
 WHERE r.rolname = current_user
"""


def read_server(connection: psycopg.Connection[Any]) -> Server:
    """Read the server's version and role; works on every version, so that an old one can be named."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SERVER).fetchone()
    if row is None:
        raise RuntimeError("pg_roles does not list the current role")
    return Server(
        version=row["version"],
        database=row["database"],
        host=connection.info.host,
        role=row["role"],
        is_superuser=row["is_superuser"],
        bypasses_row_security=row["bypasses_row_security"],
        in_recovery=row["in_recovery"],
        block_size=row["block_size"],
        event_triggers=tuple(row["event_triggers"]),
    )
