"""Whether somebody asked this run to stop: cancel of it or of a table, or the emergency switch.

Every batch reads the same flags inside its own statement; this is for what is not a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from tenant_migration.backfill.states import State
from tenant_migration.errors import Refused, RunStopped, TableStopped

JOURNALED = "what is done stays journaled"
"""What stays of a migration or a rollback that is stopped."""

_SWITCH = """
SELECT emergency_stop, emergency_stopped_by, emergency_stopped_at, emergency_reason, emergency_unstopped
FROM tenant_migration.settings"""


@dataclass(frozen=True)
class EmergencySwitch:
    """The switch that every batch reads, and who set it."""

    is_set: bool
    set_by: str | None = None
    set_at: datetime | None = None
    reason: str | None = None
    unstopped: str | None = None
    """What could not be told to stop, and may start when the switch is released."""

    def __str__(self) -> str:
        """Say who set it, when and why."""
        at = f" at {self.set_at:%Y-%m-%d %H:%M:%S %Z}".rstrip() if self.set_at else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"by {self.set_by or 'somebody'}{at}{why}"


def read_switch(connection: psycopg.Connection) -> EmergencySwitch:
    """Return the emergency switch. Inside or outside of a transaction."""
    row = connection.execute(_SWITCH).fetchone()
    return EmergencySwitch(*row) if row else EmergencySwitch(False)


def refuse_while_emergency(connection: psycopg.Connection) -> None:
    """Raise Refused while the emergency switch is set, naming who set it and how to release it."""
    switch = read_switch(connection)
    if switch.is_set:
        raise Refused(
            f"the emergency switch is set, {switch}: nothing may start. When what happened is understood, "
            "`tenant-migration resume` releases it"
        )


_FLAGS = """
SELECT s.emergency_stop, r.state, coalesce(t.state, '')
FROM tenant_migration.settings AS s CROSS JOIN tenant_migration.runs AS r
LEFT JOIN tenant_migration.table_runs AS t ON t.run_id = r.run_id AND t.table_id = %s
WHERE r.run_id = %s"""


def refuse_when_stopped(
    connection: psycopg.Connection,
    *,
    table_name: str,
    table_id: int | None,
    run_id: int,
    heeds_switch: bool = True,
    what_stays: str = JOURNALED,
) -> None:
    """Raise RunStopped when somebody asked this table's run to stop.

    Args:
        connection: any.
        table_name: for the message.
        table_id: of the managed table; None: the run as a whole.
        run_id: the run.
        heeds_switch: False for the rollback of an emergency stop, which works while the switch is set.
        what_stays: of the work, for the message.
    """
    row = connection.execute(_FLAGS, (table_id, run_id)).fetchone()
    if row is None:
        raise RunStopped(f"{table_name}: run {run_id} is no longer in the database; start a new one")
    refuse_stop_flags(
        table_name, emergency_stop=heeds_switch and row[0], states=row[1:], what_stays=what_stays
    )


def refuse_stop_flags(
    table_name: str, *, emergency_stop: bool, states: tuple[str, ...], what_stays: str = JOURNALED
) -> None:
    """Raise RunStopped for flags that were read, naming the table and how to go on.

    Args:
        table_name: for the message.
        emergency_stop: whether the switch is set.
        states: of the run, then of the table in it.
        what_stays: of the work, for the message.

    Raises:
        TableStopped: only this table of the run is to stop.
    """
    if emergency_stop:
        raise RunStopped(
            f"{table_name}: stopped by the emergency switch; {what_stays}. "
            "`tenant-migration resume` releases the switch"
        )
    if states[0] != State.CANCELLED.value and State.CANCELLED.value in states:
        raise TableStopped(f"{table_name}: this table was cancelled; {what_stays}. Run again to go on")
    if State.CANCELLED.value in states:
        raise RunStopped(f"{table_name}: the run was cancelled; {what_stays}. Run again to go on")
