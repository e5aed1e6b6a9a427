"""How a table's rollback begins and ends in the database: states of pairs and table, counts, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.states import State, set_pair_states, set_table_run_state
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed
from tenant_migration.planning.counted import counted
from tenant_migration.recovery.results import LeftAlone
from tenant_migration.recovery.rollback.work import Work

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SHOWN = 10

_TOUCHED = """
SELECT tenant_number FROM tenant_migration.table_states
WHERE table_id = %(table_id)s AND (%(numbers)s::int4[] IS NULL OR tenant_number = ANY (%(numbers)s::int4[]))
  AND (rows_migrated > 0 OR rows_kept > 0 OR state NOT IN ('pending', 'rolled_back')
       OR tenant_number = ANY (%(with_entries)s::int4[]))"""

_IN_OUR_HANDS = """
SELECT tenant_number FROM tenant_migration.table_states
WHERE table_id = %s AND run_id = %s AND state = 'rolling_back'"""

_LEFT_ALONE = """
SELECT number, count(*) FILTER (WHERE l.reason = 'changed'), count(*) FILTER (WHERE l.reason = 'deleted')
FROM tenant_migration.left_alone AS l CROSS JOIN LATERAL unnest(l.tenant_numbers) AS number
WHERE l.run_id = %s AND l.table_id = %s GROUP BY number"""

_SAMPLES = """
SELECT n.tenant_id, e.row_key, l.reason, e.found_value::text, l.message
FROM tenant_migration.left_alone AS l
CROSS JOIN LATERAL unnest(l.tenant_numbers, l.row_keys, l.found_values)
    AS e (tenant_number, row_key, found_value)
JOIN tenant_migration.tenants AS n USING (tenant_number)
WHERE l.run_id = %s AND l.table_id = %s ORDER BY l.reason = 'failed' DESC, l.left_alone_id LIMIT %s"""

_SAMPLES_OF_EACH = """
SELECT n.tenant_id, s.row_key, s.reason, s.found_value, s.message
FROM (
    SELECT e.tenant_number, e.row_key, l.reason, e.found_value::text, l.message,
           row_number() OVER (PARTITION BY e.tenant_number
                              ORDER BY l.reason = 'failed' DESC, l.left_alone_id) AS place
    FROM tenant_migration.left_alone AS l
    CROSS JOIN LATERAL unnest(l.tenant_numbers, l.row_keys, l.found_values)
        AS e (tenant_number, row_key, found_value)
    WHERE l.run_id = %s AND l.table_id = %s
) AS s JOIN tenant_migration.tenants AS n USING (tenant_number)
WHERE s.place <= %s ORDER BY n.tenant_number, s.place"""


def touched_pairs(work: Work, with_entries: Sequence[int]) -> list[int]:
    """Return the tenants in scope whose pair with the table has something to take back."""
    rows = _query(
        work,
        _TOUCHED,
        {"table_id": work.table_id, "numbers": work.tenant_numbers, "with_entries": list(with_entries)},
    )
    return [int(row[0]) for row in rows]


def in_our_hands(work: Work) -> list[int]:
    """Return the tenants whose pair this run is rolling back."""
    return [int(row[0]) for row in _query(work, _IN_OUR_HANDS, (work.table_id, work.run.run_id))]


def note_expected(work: Work) -> None:
    """Note how many entries were open when the table started."""

    def note(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute(
                "UPDATE tenant_migration.table_runs SET strategy = 'journal', rows_expected = %s"
                " WHERE run_id = %s AND table_id = %s",
                (work.tally.rows_expected, work.run.run_id, work.table_id),
            )

    work.retry.run(f"counts of {work.name}", note)


def left_alone_by_tenant(work: Work) -> tuple[dict[int, int], dict[int, int]]:
    """Return how many rows of each tenant this run left because they were changed, and because deleted."""
    rows = _query(work, _LEFT_ALONE, (work.run.run_id, work.table_id))
    changed = {int(number): int(count) for number, count, _ in rows if count}
    deleted = {int(number): int(count) for number, _, count in rows if count}
    return changed, deleted


def compare_with_counters(work: Work, *, restored: int, changed: int, deleted: int) -> None:
    """Compare what follows from the journal with what the steps counted: two ways to the same numbers.

    Raises:
        OperationFailed: they differ.
    """
    rows = _query(
        work,
        "SELECT rows_restored, rows_changed, rows_deleted FROM tenant_migration.table_runs"
        " WHERE run_id = %s AND table_id = %s",
        (work.run.run_id, work.table_id),
    )
    if tuple(rows[0]) != (restored, changed, deleted):
        raise OperationFailed(
            f"{work.name}: the journal says {restored:,} restored, {changed:,} changed, {deleted:,} deleted,"
            f" but the steps of run {work.run.run_id} counted {rows[0]}. Somebody else changed the journal;"
            " verify the table before anything else"
        )


def samples(work: Work) -> tuple[LeftAlone, ...]:
    """Return the first rows that were left alone, failed ones before others."""
    rows = _query(work, _SAMPLES, (work.run.run_id, work.table_id, _SHOWN))
    return tuple(LeftAlone(*row) for row in rows)


def samples_by_tenant(work: Work) -> dict[str, tuple[LeftAlone, ...]]:
    """Return the first rows of each tenant that were left alone."""
    found: dict[str, tuple[LeftAlone, ...]] = {}
    for row in _query(work, _SAMPLES_OF_EACH, (work.run.run_id, work.table_id, _SHOWN)):
        left = LeftAlone(*row)
        found[left.tenant_id] = (*found.get(left.tenant_id, ()), left)
    return found


def resolve_quarantine(work: Work, numbers: Sequence[int]) -> None:
    """Close the quarantine of these tenants: what could not be written has nothing to be taken back."""

    def resolve(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute(
                "UPDATE tenant_migration.quarantine SET resolved_at = clock_timestamp()"
                " WHERE table_id = %s AND resolved_at IS NULL AND tenant_number = ANY (%s::int4[])",
                (work.table_id, list(numbers)),
            )

    work.retry.run(f"quarantine of {work.name}", resolve)


def set_pairs(
    work: Work,
    numbers: Sequence[int],
    state: State,
    reason: str | None,
    *,
    rows_migrated: Mapping[int, int] | None = None,
    rows_kept: Mapping[int, int] | None = None,
) -> None:
    """Bring pairs of the table into a state."""
    work.retry.run(
        f"states of {work.name}",
        lambda connection: set_pair_states(
            connection,
            table_id=work.table_id,
            tenant_numbers=numbers,
            state=state,
            actor=work.run.actor,
            reason=reason,
            run_id=work.run.run_id,
            rows_migrated=rows_migrated,
            rows_kept=rows_kept,
        ),
    )


def end_pairs(work: Work, pairs: Sequence[int], failed: Mapping[int, int]) -> None:
    """Bring the pairs to their end: `rolled_back`, or `failed` where entries stay open."""
    good = [number for number in pairs if number not in failed]
    resolve_quarantine(work, good)
    for amount in sorted({failed[number] for number in pairs if number in failed}):
        set_pairs(
            work,
            [number for number in pairs if failed.get(number) == amount],
            State.FAILED,
            f"{work.name}: {counted(amount, 'row')} could not be reset; `rollback` lists them and why",
            rows_migrated=failed,
            rows_kept={},
        )
    set_pairs(work, good, State.ROLLED_BACK, None, rows_migrated={}, rows_kept={})
    failpoints.reach(failpoints.ROLLBACK_PAIRS_ENDED)


def set_table_state(work: Work, state: State, reason: str | None = None) -> None:
    """Bring the table's part of the run into a state."""
    work.retry.run(
        f"state of {work.name}",
        lambda connection: set_table_run_state(
            connection,
            run_id=work.run.run_id,
            table_id=work.table_id,
            state=state,
            actor=work.run.actor,
            reason=reason,
        ),
    )


def _query(work: Work, query: LiteralString, parameters: Any) -> list[Any]:
    return work.retry.run(
        f"rollback of {work.name}", lambda connection: connection.execute(query, parameters).fetchall()
    )
