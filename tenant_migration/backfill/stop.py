"""Whether somebody asked this run to stop: cancel of it or of a table, or the emergency switch.

Every batch reads the same flags inside its own statement; this is for what is not a batch.
"""

from __future__ import annotations

import psycopg

from tenant_migration.backfill.states import State
from tenant_migration.errors import RunStopped

_FLAGS = """
SELECT s.emergency_stop, r.state, coalesce(t.state, '')
FROM tenant_migration.settings AS s CROSS JOIN tenant_migration.runs AS r
LEFT JOIN tenant_migration.table_runs AS t ON t.run_id = r.run_id AND t.table_id = %s
WHERE r.run_id = %s"""


def refuse_when_stopped(
    connection: psycopg.Connection, *, table_name: str, table_id: int, run_id: int
) -> None:
    """Raise RunStopped when somebody asked this table's run to stop."""
    row = connection.execute(_FLAGS, (table_id, run_id)).fetchone()
    if row is None:
        raise RunStopped(f"{table_name}: run {run_id} is no longer in the database; start a new one")
    refuse_stop_flags(table_name, emergency_stop=row[0], states=row[1:])


def refuse_stop_flags(table_name: str, *, emergency_stop: bool, states: tuple[str, ...]) -> None:
    """Raise RunStopped for flags that were read, naming the table and how to go on."""
    if emergency_stop:
        raise RunStopped(
            f"{table_name}: stopped by the emergency switch; what is done stays journaled. "
            "`tenant-migration resume` releases the switch"
        )
    if State.CANCELLED.value in states:
        raise RunStopped(
            f"{table_name}: the run was cancelled; what is done stays journaled. Run again to go on"
        )
