"""Values that were kept: nothing was written there, so their entries are only closed."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.rollback import gate, steps_sql
from tenant_migration.recovery.rollback.scope import Batch, list_batches
from tenant_migration.recovery.rollback.work import Work

_BATCHES_EACH = 100
"""Closed in one transaction; each holds at most 10,000 values."""


def close_kept(work: Work) -> None:
    """Close the entries in scope that recorded a value which stays."""
    batches = list_batches(work, kept=True)
    for first in range(0, len(batches), _BATCHES_EACH):
        _close(work, batches[first : first + _BATCHES_EACH])
    failpoints.reach(failpoints.ROLLBACK_KEPT_CLOSED)


def _close(work: Work, batches: Sequence[Batch]) -> None:
    numbers = [batch.batch_id for batch in batches]
    parameters = {**gate.parameters_of(work, numbers), "restored": 0, "changed": 0, "deleted": 0, "steps": 0}

    def close(connection: psycopg.Connection) -> None:
        work.keep_alive.renew_when_due(connection)
        with transaction(
            connection,
            lock_timeout_ms=work.table.settings.lock_timeout_ms,
            statement_timeout_ms=work.table.settings.statement_timeout_ms,
        ):
            gate.enter(connection, work, numbers, even_truncated=True)
            connection.execute(steps_sql.close(gate.entries_of(work)), parameters)

    work.retry.run(f"kept values of {work.name}", close)
