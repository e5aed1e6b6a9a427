"""Whether a step may still work: read, and locked, by the first statement of its own transaction."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill.stop import refuse_stop_flags
from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.rollback import steps_sql
from tenant_migration.recovery.rollback.entries_sql import Entries
from tenant_migration.recovery.rollback.work import Work


def entries_of(work: Work) -> Entries:
    """Return how the entries of this rollback are read."""
    tenants = None if work.tenant_numbers is None else len(work.tenant_numbers)
    return Entries(work.table, work.table_id, tenants, work.previous)


def parameters_of(work: Work, batch_ids: Sequence[int]) -> dict[str, object]:
    """Return the parameters of every statement of a step."""
    return {
        **work.session_settings,
        "lease_tokens": list(work.lease.tokens),
        "run_id": work.run.run_id,
        "table_id": work.table_id,
        "batch_ids": list(batch_ids),
        "tenant_numbers": work.tenant_numbers,
    }


def enter(connection: psycopg.Connection, work: Work, batch_ids: Sequence[int]) -> bool:
    """Lock lease and batches until the transaction ends; say whether the application has claimed any row.

    Raises:
        LeaseLost, RunStopped: this run must not go on.
    """
    row = connection.execute(
        steps_sql.gate(entries_of(work), has_claims=work.has_claims), parameters_of(work, batch_ids)
    ).fetchone()
    if row is None:
        raise OperationFailed(f"run {work.run.run_id} is no longer in the database; start a new one")
    lease_held, emergency_stop, run_state, table_state, any_claims = row[:5]
    if not lease_held:
        raise work.keep_alive.lost()
    refuse_stop_flags(
        work.name,
        emergency_stop=emergency_stop and not work.emergency,
        states=(run_state, table_state),
    )
    return bool(any_claims)
