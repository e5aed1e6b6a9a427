"""Releases the emergency switch."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.stop import EmergencySwitch, read_switch
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.errors import Refused
from tenant_migration.recovery.stop_runs import Stopped, stop_runs, working_runs
from tenant_migration.recovery.switch import release_switch

OPERATION = "resume"
"""In the audit log."""

_REASON = "it was going when the emergency switch was set, and ended when it was released"


@dataclass(frozen=True)
class Resumed:
    """The switch as it was."""

    switch: EmergencySwitch
    """Not set: there was nothing to release."""
    ended: Stopped
    """Runs from before that had not ended: cancelled, so that none comes back to life now."""


def resume(connection: psycopg.Connection, *, actor: str) -> Resumed:
    """Release the emergency switch: migrations may start again. Nothing starts by itself.

    Raises:
        NotInstalled: the private schema is missing.
        Refused: a run still works: the emergency's own rollback.
    """
    with attempt(connection, OPERATION, actor=actor):
        return _resume(connection, actor=actor)


def _resume(connection: psycopg.Connection, *, actor: str) -> Resumed:
    require_installed(connection)
    with transaction(connection, read_only=True, row_security=True):
        switch = read_switch(connection)
    if not switch.is_set:
        audit.record(
            connection,
            operation=OPERATION,
            actor=actor,
            outcome="completed",
            detail={"switch": "was not set: nothing to release"},
        )
        return Resumed(switch, Stopped(()))
    runs = working_runs(connection)
    working = [run for run in runs if run.holds_lease]
    if working:
        raise Refused(
            f"{working[0]} still works, and the emergency is not over before it has ended: wait for it, or "
            "stop it with `tenant-migration cancel`"
        )
    ended = stop_runs(connection, runs, actor=actor, reason=_REASON)
    switch = release_switch(connection)
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome="completed",
        counts={"runs_ended": len(ended.runs)},
        detail={"switch": f"set {switch}"},
    )
    return Resumed(switch, ended)
