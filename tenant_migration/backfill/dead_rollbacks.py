"""Pairs whose rollback died: taken over by a migration, which may follow no rollback that still runs."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill.journal import count_rows
from tenant_migration.backfill.states import State, set_pair_states

_DEAD = """
SELECT s.tenant_number FROM tenant_migration.table_states AS s
WHERE s.table_id = %(table_id)s AND s.tenant_number = ANY (%(numbers)s::int4[]) AND s.state = 'rolling_back'
  AND NOT EXISTS (
      SELECT FROM tenant_migration.leases AS l
      WHERE l.table_id = s.table_id AND l.tenant_scope @> s.tenant_number
        AND l.run_id <> %(run_id)s AND l.expires_at > clock_timestamp())
ORDER BY 1"""


def end_dead_rollbacks(
    connection: psycopg.Connection, *, table_id: int, tenant_numbers: Sequence[int], run_id: int, actor: str
) -> list[int]:
    """Call pairs cancelled whose rollback ended without saying so; return their tenants.

    1. Find the pairs that are `rolling_back` while nobody else holds a lease on them.
    2. Count what the open journal still names: the pair's own count is from before the rollback, and a later
       rollback would take the difference for lost entries.

    Args:
        connection: outside of a transaction.
        table_id: of the managed table.
        tenant_numbers: those that this run is about to work on.
        run_id: of the migration; its own lease does not count.
        actor: who migrates.
    """
    dead = [
        int(row[0])
        for row in connection.execute(
            _DEAD, {"table_id": table_id, "numbers": list(tenant_numbers), "run_id": run_id}
        )
    ]
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
