"""Reads the state of (table, tenant) pairs: which parents are done, which tenants have to wait."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.database.connection import transaction
from tenant_migration.planning.model import TablePlan

_STATES = """
    SELECT n.tenant_id, t.table_schema || '.' || t.table_name, s.state
    FROM tenant_migration.table_states s
    JOIN tenant_migration.tenants n USING (tenant_number)
    JOIN tenant_migration.managed_tables t USING (table_id)
    WHERE t.table_schema || '.' || t.table_name = ANY(%s)
"""

_OF_RUN = """
    SELECT n.tenant_id
    FROM tenant_migration.table_states s
    JOIN tenant_migration.tenants n USING (tenant_number)
    WHERE s.table_id = %s AND s.run_id = %s AND s.state = ANY(%s)
    ORDER BY n.tenant_id
"""


def pair_states(connection: psycopg.Connection, tables: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return {(table, tenant id): state}; a pair that was never touched is absent."""
    with transaction(connection, read_only=True):
        rows = connection.execute(_STATES, [list(tables)]).fetchall()
    return {(table, tenant_id): state for tenant_id, table, state in rows}


def tenants_in(
    connection: psycopg.Connection, table_id: int, run_id: int, states: Sequence[str]
) -> list[str]:
    """Return the tenants that a run left in one of these states in a table; another run's are not its."""
    with transaction(connection, read_only=True):
        rows = connection.execute(_OF_RUN, [table_id, run_id, list(states)]).fetchall()
    return [tenant_id for (tenant_id,) in rows]


def tenants_waiting_for_parents(
    connection: psycopg.Connection,
    table: TablePlan,
    tenants: Sequence[str],
    *,
    parents_in_run: frozenset[str] = frozenset(),
) -> dict[str, list[str]]:
    """Return, for each tenant that has to wait, the parents of the table that are not completed for it.

    Args:
        connection: to the database.
        table: the table that wants to start.
        tenants: the tenants in question.
        parents_in_run: parents that the same run does first; they are not counted.
    """
    parents = [parent for parent in table.depends_on if parent not in parents_in_run]
    if not parents:
        return {}
    states = pair_states(connection, parents)
    waiting = {
        tenant: [parent for parent in parents if states.get((parent, tenant)) != "completed"]
        for tenant in tenants
    }
    return {tenant: missing for tenant, missing in waiting.items() if missing}
