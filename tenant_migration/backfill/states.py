"""States of runs, of tables in a run, and of (table, tenant) pairs, and how they may follow one another.

The same table stands in the database (`tenant_migration.state_transitions`), which enforces it on every
writer and logs each change with actor and reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.errors import RunStopped


class State(str, Enum):
    """Where a run, a table of a run, or a pair of table and tenant stands."""

    PENDING = "pending"
    """Nothing has happened yet."""
    VALIDATING = "validating"
    """The checks before the first write."""
    RUNNING = "running"
    """Rows are being written."""
    PAUSED = "paused"
    """A person stopped it; it goes on at `resume`."""
    THROTTLED = "throttled"
    """The database is busy; it goes on by itself."""
    SWEEPING = "sweeping"
    """The bulk pass is done; rows that moved or came meanwhile are looked for."""
    VERIFYING = "verifying"
    """All rows are written; the checks after."""
    COMPLETED = "completed"
    """Verified."""
    FAILED = "failed"
    """The reason says what; what was written stays, journaled, and a new run does what is left."""
    BLOCKED = "blocked"
    """A parent of this tenant is not completed."""
    CANCELLED = "cancelled"
    """A person or the emergency switch ended it."""
    ROLLING_BACK = "rolling_back"
    """Values that we wrote are being taken back."""
    ROLLED_BACK = "rolled_back"
    """Every value that we wrote and nobody changed since is taken back."""


_S = State

TRANSITIONS: Mapping[State, frozenset[State]] = {
    _S.PENDING: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    # A process that was killed leaves any state of work behind: the next run takes it over from there.
    _S.VALIDATING: frozenset(
        {_S.RUNNING, _S.PAUSED, _S.VERIFYING, _S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.RUNNING: frozenset(
        {_S.VALIDATING, _S.PAUSED, _S.THROTTLED, _S.SWEEPING, _S.VERIFYING}
        | {_S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.PAUSED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.THROTTLED, _S.SWEEPING, _S.VERIFYING}
        | {_S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.THROTTLED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.PAUSED, _S.SWEEPING, _S.VERIFYING}
        | {_S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.SWEEPING: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.PAUSED, _S.THROTTLED, _S.VERIFYING}
        | {_S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.VERIFYING: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.COMPLETED, _S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.COMPLETED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.FAILED, _S.BLOCKED, _S.ROLLING_BACK}
    ),
    _S.FAILED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.BLOCKED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.FAILED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
    _S.CANCELLED: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.FAILED, _S.BLOCKED, _S.ROLLING_BACK}
    ),
    _S.ROLLING_BACK: frozenset({_S.ROLLED_BACK, _S.PAUSED, _S.THROTTLED, _S.FAILED, _S.CANCELLED}),
    _S.ROLLED_BACK: frozenset(
        {_S.VALIDATING, _S.RUNNING, _S.VERIFYING, _S.FAILED, _S.BLOCKED, _S.CANCELLED, _S.ROLLING_BACK}
    ),
}
"""From -> to, for pairs, runs and tables in a run. Staying in a state is always allowed and is no
transition."""

RUN_TRANSITIONS: frozenset[tuple[State, State]] = frozenset(
    (state, _S.COMPLETED) for state in (_S.VALIDATING, _S.RUNNING, _S.SWEEPING, _S.ROLLING_BACK)
)
"""Further ones for runs and tables in a run, which may skip steps that a pair may not."""

_SET_PAIRS = """
INSERT INTO tenant_migration.table_states AS s
    (table_id, tenant_number, state, rows_migrated, rows_kept, run_id, actor, reason, updated_at)
SELECT %(table_id)s, given.tenant_number, %(state)s, coalesce(given.rows_migrated, 0),
       coalesce(given.rows_kept, 0), %(run_id)s, %(actor)s, %(reason)s, clock_timestamp()
FROM unnest(%(numbers)s::int4[], %(rows_migrated)s::int8[], %(rows_kept)s::int8[])
    AS given (tenant_number, rows_migrated, rows_kept)
ON CONFLICT (table_id, tenant_number) DO UPDATE
SET state = excluded.state, run_id = excluded.run_id, actor = excluded.actor, reason = excluded.reason,
    rows_migrated = CASE WHEN %(counts_migrated)s THEN excluded.rows_migrated ELSE s.rows_migrated END,
    rows_kept = CASE WHEN %(counts_kept)s THEN excluded.rows_kept ELSE s.rows_kept END,
    verified_at = CASE WHEN excluded.state = 'completed' THEN clock_timestamp() ELSE s.verified_at END,
    updated_at = clock_timestamp()"""


def set_pair_states(
    connection: psycopg.Connection,
    *,
    table_id: int,
    tenant_numbers: Sequence[int],
    state: State,
    actor: str,
    reason: str | None,
    run_id: int,
    rows_migrated: Mapping[int, int] | None = None,
    rows_kept: Mapping[int, int] | None = None,
) -> None:
    """Bring the pairs of one table and many tenants into a state, and the mappings with them.

    Args:
        connection: outside of a transaction.
        table_id: of the managed table.
        tenant_numbers: the tenants; none does nothing.
        state: the new state.
        actor: who.
        reason: why, as a sentence; None where the state says it.
        run_id: the run that does it.
        rows_migrated: tenant number -> rows that now carry a value written by us (missing: 0); None:
        unchanged.
        rows_kept: tenant number -> rows whose own value was kept (missing: 0); None: unchanged.

    Raises:
        RunStopped: the run was cancelled and the state is no end: somebody else may have the pairs by now.
    """
    if not tenant_numbers:
        return
    is_end = state in {State.FAILED, State.BLOCKED, State.CANCELLED}
    numbers = sorted(tenant_numbers)  # one order for everybody: two runs cannot lock the pairs crosswise
    with transaction(connection, lock_timeout_ms=10_000, statement_timeout_ms=120_000):
        if not is_end:
            _refuse_after_cancel(connection, run_id)
        connection.execute(
            _SET_PAIRS,
            {
                "table_id": table_id,
                "numbers": numbers,
                "state": state.value,
                "run_id": run_id,
                "actor": actor,
                "reason": reason,
                "rows_migrated": [(rows_migrated or {}).get(number, 0) for number in numbers],
                "rows_kept": [(rows_kept or {}).get(number, 0) for number in numbers],
                "counts_migrated": rows_migrated is not None,
                "counts_kept": rows_kept is not None,
            },
        )
        connection.execute("SELECT tenant_migration.refresh_mapping_status(%s::int4[])", (numbers,))
        failpoints.reach(failpoints.STATE_BEFORE_COMMIT)


def _refuse_after_cancel(connection: psycopg.Connection, run_id: int) -> None:
    """Raise RunStopped for a cancelled run; one that is not stays so until this transaction ends.

    A process that was frozen while its run was cancelled and taken back must not call its pairs completed
    when it comes to life again.
    """
    row = connection.execute(
        "SELECT state FROM tenant_migration.runs WHERE run_id = %s FOR SHARE", (run_id,)
    ).fetchone()
    if row is not None and row[0] == State.CANCELLED.value:
        raise RunStopped(f"run {run_id} was cancelled; what is done stays journaled. Run again to go on")


_SET_TABLE_RUN = """
INSERT INTO tenant_migration.table_runs AS t (run_id, table_id, state, reason, actor)
VALUES (%(run_id)s, %(table_id)s, %(state)s, %(reason)s, %(actor)s)
ON CONFLICT (run_id, table_id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, actor = excluded.actor,
    finished_at = CASE WHEN %(finished)s THEN clock_timestamp() END"""


def set_table_run_state(
    connection: psycopg.Connection,
    *,
    run_id: int,
    table_id: int,
    state: State,
    actor: str,
    reason: str | None = None,
) -> None:
    """Bring one table's part of a run into a state; its row is made when it is not there."""
    with transaction(connection, lock_timeout_ms=10_000):
        connection.execute(
            _SET_TABLE_RUN,
            {
                "run_id": run_id,
                "table_id": table_id,
                "state": state.value,
                "reason": reason,
                "actor": actor,
                "finished": state in {State.COMPLETED, State.FAILED, State.CANCELLED, State.ROLLED_BACK},
            },
        )
