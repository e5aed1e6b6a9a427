"""What can go wrong, as exceptions, and what the engine does about each SQLSTATE.

Belongs here: exceptions that cross a folder, and the one table SQLSTATE -> reaction. Every message names
the thing (table, tenant, file), the cause and the next step for the person reading.
"""

from __future__ import annotations

from enum import Enum


class TenantMigrationError(Exception):
    """Base of all our exceptions.

    `exit_code` is what the command line ends with: 2 when the input is wrong before any database is asked,
    1 when the database says no.
    """

    exit_code = 1


class UsageError(TenantMigrationError):
    """The input is wrong before any database is asked."""

    exit_code = 2


class ConfigurationError(UsageError):
    """The configuration file or the environment is wrong; names the key and the nearest known one."""


class DatabaseUnavailable(TenantMigrationError):
    """The server cannot be reached, or refuses the role; the message never contains the password."""


class UnsupportedServer(TenantMigrationError):
    """The server is a standby, or older than the versions that the suite runs on."""


class NotInstalled(TenantMigrationError):
    """The schema `tenant_migration` is missing or older than this release; the next step is `install`."""


class NoPlan(TenantMigrationError):
    """No plan is stored; the next step is `plan --write`."""


class PlanOutdated(TenantMigrationError):
    """The table changed since its plan was stored; the message says what differs."""


class Refused(TenantMigrationError):
    """A precondition does not hold, so nothing was started; the message says which and the way out."""


class UnknownTenant(TenantMigrationError):
    """No mapping for this tenant."""


class UnknownOrganization(TenantMigrationError):
    """No organization with this id, or no tenant is mapped to it."""


class AmbiguousOrganization(TenantMigrationError):
    """Several tenants are mapped to this organization, so it has no single tenant."""


class UnknownTable(TenantMigrationError):
    """No managed table of this name; the message names the nearest known one."""


class MappingImportError(TenantMigrationError):
    """The file of mappings has bad lines; all of them are listed and nothing was written."""


class LeaseHeld(TenantMigrationError):
    """Another run works on this table and tenant; the message names the holder."""


class LeaseLost(TenantMigrationError):
    """Our lease expired and was taken over: this run must not write any more."""


class RunStopped(TenantMigrationError):
    """The run was cancelled, or stopped by the emergency switch, at a batch's edge; what is done stays."""


class TableStopped(RunStopped):
    """One table of a run was cancelled; the run's other tables may go on."""


class OperationFailed(TenantMigrationError):
    """An operation ended without doing all it was asked for; the message lists what is left."""


class JournalIncomplete(OperationFailed):
    """A journal names fewer rows than were recorded as migrated: it is no ground to take them back by."""

    def __init__(self, message: str, rows_missing: dict[int, int]) -> None:
        super().__init__(message)
        self.rows_missing = rows_missing
        """Tenant number -> rows that were recorded and that no open entry names."""


class Reaction(Enum):
    """What the engine does when a batch fails."""

    RETRY = "retry"
    """Transient: the same batch again, after a jittered wait."""
    SPLIT = "split"
    """Too much at once: the same rows in two halves."""
    QUARANTINE = "quarantine"
    """A row's own fault: halve down to the row, set it aside with its reason, go on."""
    STOP = "stop"
    """Nothing that another attempt could change: the table stops."""


_REACTION_BY_SQLSTATE = {
    "40001": Reaction.RETRY,  # serialization_failure
    "40P01": Reaction.RETRY,  # deadlock_detected
    "55P03": Reaction.RETRY,  # lock_not_available: our own lock_timeout
    "57P01": Reaction.RETRY,  # admin_shutdown: the connection is made anew
    "57P02": Reaction.RETRY,  # crash_shutdown
    "57P03": Reaction.RETRY,  # cannot_connect_now
    "25P03": Reaction.RETRY,  # idle_in_transaction_session_timeout
    "25P04": Reaction.RETRY,  # transaction_timeout
    "0A000": Reaction.RETRY,  # cached plan must not change result type, after DDL
    "57014": Reaction.SPLIT,  # query_canceled: our own statement_timeout
    "53200": Reaction.SPLIT,  # out_of_memory
    "53400": Reaction.SPLIT,  # configuration_limit_exceeded: temp_file_limit
    "22P02": Reaction.QUARANTINE,  # invalid_text_representation
    "428C9": Reaction.STOP,  # generated_always: true of every row
    "P0001": Reaction.QUARANTINE,  # raise_exception, from a trigger
}

_REACTION_BY_CLASS = {
    "08": Reaction.RETRY,  # connection exceptions
    "23": Reaction.QUARANTINE,  # integrity constraint violations
    "22": Reaction.QUARANTINE,  # data exceptions
}


def reaction_to(sqlstate: str | None, connection_lost: bool = False) -> Reaction:
    """Say what a failed batch asks for.

    Args:
        sqlstate: PostgreSQL's five characters, or None when the client saw no answer (connection lost).
        connection_lost: whether the connection is unusable. A server that dies gives no SQLSTATE
            (integrity.md F02), so a lost connection is transient whatever the code says.

    Returns:
        The reaction; whatever is not in the table stops (42xxx, 53100 disk full, 25006 read only, ...).
    """
    if connection_lost:
        return Reaction.RETRY
    if sqlstate is None:
        return Reaction.STOP
    by_code = _REACTION_BY_SQLSTATE.get(sqlstate)
    if by_code is not None:
        return by_code
    return _REACTION_BY_CLASS.get(sqlstate[:2], Reaction.STOP)
