"""A run that takes back: its row, and the tenants that have something to take back."""

from __future__ import annotations

import os
import socket

import psycopg
from psycopg.types.json import Jsonb

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.results import Selection
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_while_emergency
from tenant_migration.database.connection import transaction
from tenant_migration.errors import UnknownTable
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import table_ids

_INSERT = """
INSERT INTO tenant_migration.runs
    (kind, state, actor, selection, dagster_run_id, tool_version, host, process_id)
VALUES ('rollback', %s, %s, %s, %s, %s, %s, %s) RETURNING run_id"""

# Touched: somebody began to write it, and not everything of it is taken back. A process that was killed
# leaves `running` and an old count behind, so that the state decides too.
_TOUCHED = """
SELECT n.tenant_id, n.tenant_number
FROM tenant_migration.tenants AS n
WHERE (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY (%(tenants)s::text[]))
  AND EXISTS (
    SELECT FROM tenant_migration.table_states AS s
    WHERE s.tenant_number = n.tenant_number AND s.table_id = ANY (%(table_ids)s::int4[])
      AND (s.rows_migrated > 0 OR s.rows_kept > 0 OR s.state NOT IN ('pending', 'rolled_back')))
ORDER BY n.tenant_number"""


def start_rollback(
    connection: psycopg.Connection,
    plan: Plan,
    *,
    selection: Selection | None = None,
    actor: str,
    dagster_run_id: str | None = None,
    emergency: bool = False,
) -> Run:
    """Open a rollback, in one transaction. No mapping is frozen: what was written stands in the journals.

    Args:
        connection: in autocommit mode.
        plan: the stored plan.
        selection: which tables (`schema.table`) and tenants; default everything.
        actor: who asks for it.
        dagster_run_id: the Dagster run that does it.
        emergency: the rollback of an emergency stop: it does not stop at the switch.

    Returns:
        The run; its tenants are those with something to take back in one of the tables, perhaps none.

    Raises:
        Refused: the emergency switch is set, and this is no emergency rollback.
        UnknownTable: the plan does not have a selected table.
    """
    chosen = selection or Selection()
    tables = None if chosen.tables is None else list(chosen.tables)
    tenants = None if chosen.tenants is None else list(dict.fromkeys(chosen.tenants))
    with transaction(connection, lock_timeout_ms=5_000):
        if not emergency:
            refuse_while_emergency(connection)
        row = connection.execute(
            _INSERT,
            (
                State.ROLLING_BACK.value,
                actor,
                Jsonb({"tables": tables, "tenants": tenants}),
                dagster_run_id,
                plan.tool_version,
                socket.gethostname(),
                os.getpid(),
            ),
        ).fetchone()
        if row is None:
            raise RuntimeError("INSERT ... RETURNING gave no row")
        run_id = int(row[0])
        found = connection.execute(
            _TOUCHED, {"tenants": tenants, "table_ids": _table_ids(connection, plan, tables)}
        ).fetchall()
    failpoints.reach(failpoints.ROLLBACK_CREATED)
    holder = f"run {run_id} of {actor} on {socket.gethostname()}, process {os.getpid()}"
    return Run(run_id, actor, "", dict(found), tenants is not None, holder)


def _table_ids(connection: psycopg.Connection, plan: Plan, tables: list[str] | None) -> list[int]:
    known = table_ids(connection)
    names = [table.qualified_name for table in plan.tables] if tables is None else tables
    missing = [name for name in names if name not in known]
    if missing:
        raise UnknownTable(f"{missing[0]} is no managed table; `tenant-migration plan` lists them")
    return [known[name] for name in names]
