"""How the end of something that could not go on is told: its state, and its reason as a sentence."""

from __future__ import annotations

import psycopg

from tenant_migration.backfill.retry import message_of
from tenant_migration.backfill.states import State
from tenant_migration.errors import RunStopped, TenantMigrationError


def state_after(error: BaseException) -> State:
    """Return `cancelled` for what ended by somebody's will (a stop, Ctrl-C, Dagster), else `failed`."""
    wanted = isinstance(error, RunStopped) or not isinstance(error, Exception)
    return State.CANCELLED if wanted else State.FAILED


def reason_of(error: BaseException) -> str:
    """Return why it ended, on one line for what the server said."""
    if isinstance(error, psycopg.Error):
        return message_of(error)
    if isinstance(error, TenantMigrationError):
        return str(error).strip()
    name = type(error).__name__
    if isinstance(error, Exception):
        return f"{name}: {error}".strip()
    source = type(error).__module__.partition(".")[0]  # DagsterExecutionInterruptedError says nothing more
    by = {"KeyboardInterrupt": "Ctrl-C", "SystemExit": "the end of its process"}.get(
        name, source.capitalize()
    )
    return f"the run was interrupted by {by} ({name})"
