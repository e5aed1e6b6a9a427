"""Pairs whose rollback died: taken over by a migration, which may follow no rollback that still runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from tenant_migration.backfill.journal import count_rows
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.backfill.stop import refuse_when_stopped
from tenant_migration.errors import LeaseHeld

_ROLLING_BACK = """
SELECT s.tenant_number, l.holder FROM tenant_migration.table_states AS s
LEFT JOIN LATERAL (
    SELECT lease.holder FROM tenant_migration.leases AS lease
    WHERE lease.table_id = s.table_id AND lease.tenant_scope @> s.tenant_number
      AND lease.run_id <> %(run_id)s AND lease.expires_at > clock_timestamp()
    LIMIT 1) AS l ON true
WHERE s.table_id = %(table_id)s AND s.tenant_number = ANY (%(numbers)s::int4[]) AND s.state = 'rolling_back'
ORDER BY 1"""

_POLL_S = 0.5


def end_dead_rollbacks(
    connection: psycopg.Connection,
    *,
    table_name: str,
    table_id: int,
    tenant_numbers: Sequence[int],
    run_id: int,
    actor: str,
    wait_s: float = 0.0,
) -> list[int]:
    """Call pairs cancelled whose rollback ended without saying so; return their tenants.

    1. Find the pairs that are `rolling_back`; wait while another run holds a lease on one of them, which that
       of a killed process expires by itself.
    2. Count what the open journal still names: the pair's own count is from before the rollback, and a later
       rollback would take the difference for lost entries.

    Args:
        connection: outside of a transaction.
        table_name: of the managed table, for the message.
        table_id: of the managed table.
        tenant_numbers: those that this run is about to work on.
        run_id: of the migration; its own lease does not count.
        actor: who migrates.
        wait_s: seconds to wait for a lease at most.

    Raises:
        LeaseHeld: a rollback goes on after the wait; names its holder.
        RunStopped: the run was cancelled, or stopped by the emergency switch, while it waited.
    """
    deadline = time.monotonic() + wait_s
    while True:
        rolling_back = connection.execute(
            _ROLLING_BACK, {"table_id": table_id, "numbers": list(tenant_numbers), "run_id": run_id}
        ).fetchall()
        holder = next((str(row[1]) for row in rolling_back if row[1] is not None), None)
        if holder is None:
            break
        if time.monotonic() >= deadline:
            raise LeaseHeld(
                f"table {table_name} is being rolled back by {holder}; waited {wait_s:g} s. "
                "Wait for it to end, or cancel it; a run that died loses its lease by itself"
            )
        refuse_when_stopped(connection, table_name=table_name, table_id=table_id, run_id=run_id)
        time.sleep(_POLL_S)
    dead = [int(row[0]) for row in rolling_back]
    if not dead:
        return []
    set_pair_states(
        connection,
        table_id=table_id,
        tenant_numbers=dead,
        state=State.CANCELLED,
        actor=actor,
        reason="its rollback ended without saying so",
        run_id=run_id,
        rows_migrated=count_rows(connection, table_id, run_id=run_id, tenants=dead).by_all_runs,
    )
    return dead
