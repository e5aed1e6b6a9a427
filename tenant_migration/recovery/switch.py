"""Sets and releases the emergency switch: every batch reads it, and no run starts while it is set."""

from __future__ import annotations

import psycopg

from tenant_migration.backfill.stop import EmergencySwitch, read_switch
from tenant_migration.database.connection import transaction

_SET = """
UPDATE tenant_migration.settings
SET emergency_stop = true, emergency_stopped_at = clock_timestamp(), emergency_stopped_by = %s,
    emergency_reason = %s, emergency_unstopped = NULL
WHERE NOT emergency_stop"""

_SET_BEFORE_UPGRADE = "UPDATE tenant_migration.settings SET emergency_stop = true"

_RELEASE = """
UPDATE tenant_migration.settings
SET emergency_stop = false, emergency_stopped_at = NULL, emergency_stopped_by = NULL,
    emergency_reason = NULL, emergency_unstopped = NULL"""

_NOTE_UNSTOPPED = "UPDATE tenant_migration.settings SET emergency_unstopped = %s WHERE emergency_stop"


def set_switch(
    connection: psycopg.Connection, *, actor: str, reason: str | None, lock_timeout_ms: int
) -> EmergencySwitch:
    """Set the switch, in a transaction of its own; one that is set stays who set it first.

    Needs no more than `tenant_migration_operator` may. In a database that an earlier release installed only
    the switch itself is set, since it has no place for who and why.

    Returns:
        The switch as it is now.

    Raises:
        psycopg.errors.LockNotAvailable: an open transaction that changed mappings holds the settings.
    """
    try:
        with transaction(connection, lock_timeout_ms=lock_timeout_ms, row_security=True):
            connection.execute(_SET, (actor, reason))
            return read_switch(connection)
    except psycopg.errors.UndefinedColumn:
        with transaction(connection, lock_timeout_ms=lock_timeout_ms, row_security=True):
            connection.execute(_SET_BEFORE_UPGRADE)
        return EmergencySwitch(True, actor, None, reason)


def note_unstopped(connection: psycopg.Connection, what: str | None) -> None:
    """Note beside the switch what could not be told to stop, for whoever releases it; None: all was told."""
    with transaction(connection, lock_timeout_ms=5_000, row_security=True):
        connection.execute(_NOTE_UNSTOPPED, (what,))


def release_switch(connection: psycopg.Connection) -> EmergencySwitch:
    """Release the switch; return it as it was."""
    with transaction(connection, lock_timeout_ms=5_000, row_security=True):
        connection.execute("SELECT FROM tenant_migration.settings FOR NO KEY UPDATE")
        before = read_switch(connection)
        if before.is_set:
            connection.execute(_RELEASE)
    return before
