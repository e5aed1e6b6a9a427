"""Whether a step may still work: read, and locked, by the first statement of its own transaction."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill.stop import refuse_stop_flags
from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.rollback import steps_sql
from tenant_migration.recovery.rollback.entries_sql import Entries
from tenant_migration.recovery.rollback.truncated_sql import lock_partitions
from tenant_migration.recovery.rollback.work import Work


class TruncatedError(Exception):
    """The application emptied the table, or a partition, after these batches were written."""

    def __init__(self, batch_ids: Sequence[int]) -> None:
        super().__init__(f"the rows of {len(batch_ids)} batches are gone")
        self.batch_ids = frozenset(batch_ids)


def entries_of(work: Work) -> Entries:
    """Return how the entries of this rollback are read."""
    tenants = None if work.tenant_numbers is None else len(work.tenant_numbers)
    return Entries(work.table, work.table_id, tenants, work.previous, len(work.run.tenants))


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


def enter(
    connection: psycopg.Connection, work: Work, batch_ids: Sequence[int], *, even_truncated: bool = False
) -> bool:
    """Lock lease and batches until the transaction ends; say whether the application has claimed any row.

    Until then nobody can empty the table either.

    Args:
        connection: in the transaction of the step.
        work: the table's rollback.
        batch_ids: the batches of the step.
        even_truncated: the step touches no row of the application.

    Raises:
        LeaseLost, RunStopped: this run must not go on.
        TruncatedError: the rows of some of the batches are gone.
    """
    if work.table.partitioned and not even_truncated:
        connection.execute(lock_partitions(work.table))
    row = connection.execute(
        steps_sql.gate(entries_of(work), has_claims=work.has_claims), parameters_of(work, batch_ids)
    ).fetchone()
    if row is None:
        raise OperationFailed(f"run {work.run.run_id} is no longer in the database; start a new one")
    lease_held, emergency_stop, run_state, table_state, any_claims, truncated = row[:6]
    if not lease_held:
        raise work.keep_alive.lost()
    refuse_stop_flags(
        work.name,
        emergency_stop=emergency_stop and not work.emergency,
        states=(run_state, table_state),
    )
    if truncated and not even_truncated:
        raise TruncatedError(truncated)
    return bool(any_claims)
