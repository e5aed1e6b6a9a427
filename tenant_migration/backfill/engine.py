"""Backfills one table: the order of the steps. Each step is a module of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill import existing, failpoints, quarantine
from tenant_migration.backfill import lease as leases
from tenant_migration.backfill.bulk import bulk_pass, leaves_of, strategy_of
from tenant_migration.backfill.claims import ensure_claims
from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.counts import TenantCount, count_by_tenant
from tenant_migration.backfill.dead_rollbacks import end_dead_rollbacks
from tenant_migration.backfill.ending import reason_of, state_after
from tenant_migration.backfill.fingerprints import prepare_fingerprints
from tenant_migration.backfill.journal import (
    Journaled,
    build_tenant_index,
    count_rows,
    ensure_journal,
    journal_exists,
)
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.results import ProgressCallback, TableResult
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.selection import selection_pass
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.states import State, set_pair_states, set_table_run_state
from tenant_migration.backfill.structure.build import build_structure
from tenant_migration.backfill.structure.column import ensure_column
from tenant_migration.backfill.structure.empty_check import drop_empty_check
from tenant_migration.backfill.sweep import SWEEPS_MOST, sweep
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import bring_to_rest, role_search_path, transaction
from tenant_migration.errors import Refused, TenantMigrationError, UnknownTenant
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids

_log = logging.getLogger(__name__)


def backfill_table(
    connection: psycopg.Connection,
    plan: Plan,
    table: TablePlan,
    run: Run,
    *,
    tenants: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
    clock: Clock | None = None,
) -> TableResult:
    """Move the rows of one table to their organizations.

    1. Take the lease; name whoever holds it.
    2. Add the organization column and the journal where they are missing; each is registered first.
    3. Count what there is to do; refuse when existing values differ and nobody said what to do.
    4. Pairs of the scope become `running`; the claim trigger is installed; values that stay are recorded.
    5. Bulk pass over each leaf, or the selected tenants' rows: committed batches with journal and cursor.
    6. Sweep until a count in one snapshot says that nothing is left.
    7. Build index and foreign key, if no row with a mapping is left without an organization.
    8. Pairs become `verifying`, or `failed` where rows are in quarantine or left; give the lease back.

    Args:
        connection: in autocommit mode. When it is lost, the engine goes on with one of its own; the caller's
            stays closed.
        plan: the stored plan.
        table: one of its tables.
        run: started by `start_run`.
        tenants: only these of the run's; None: all of the run's.
        progress: called after every batch.
        clock: replaced by tests.

    Returns:
        What was done. `rows_remaining` above 0, or rows in quarantine, mean that the table is not done.

    Raises:
        Refused: nothing was written; the message says why and the way out.
        LeaseHeld: another run works on the table.
        LeaseLost, RunStopped, OperationFailed, psycopg.Error: it could not go on. What was committed stays,
            journaled; pairs and the table's run say `failed` or `cancelled`; a new run does what is left.
    """
    time = clock or Clock()
    started = time.monotonic()
    if table.refusals:
        reasons = "; ".join(f"{hazard.detail}: {hazard.way_out}" for hazard in table.refusals)
        raise Refused(f"{table.qualified_name}: the plan refuses: {reasons}")
    table_id = table_ids(connection)[table.qualified_name]
    numbers = _scope(run, table, tenants)
    with Session(connection, time) as session:
        lease = leases.acquire(
            session,
            table_name=table.qualified_name,
            table_id=table_id,
            tenant_numbers=numbers,
            run_id=run.run_id,
            holder=run.holder,
            ttl_s=table.settings.lease_ttl_s,
            wait_s=table.settings.lease_wait_s,
            clock=time,
        )
        failpoints.reach(failpoints.LEASE_ACQUIRED)
        with leases.KeepAlive(
            session, lease, table_name=table.qualified_name, run_id=run.run_id, table_id=table_id
        ) as keep_alive:
            work = Work(
                session=session,
                clock=time,
                plan=plan,
                table=table,
                table_id=table_id,
                run=run,
                lease=lease,
                keep_alive=keep_alive,
                tenant_numbers=numbers,
                progress=progress,
                session_settings=_session_settings(session.connection),
            )
            try:
                result = _backfill(work, started)
            except BaseException as error:
                _record_failure(work, error)
                raise
        work.retry.run(f"lease of {table.qualified_name}", lambda c: leases.release(c, lease))
        failpoints.reach(failpoints.LEASE_RELEASED)
        return result


def _scope(run: Run, table: TablePlan, tenants: Sequence[str] | None) -> list[int] | None:
    """Return the numbers of the tenants in scope; None: one pass over all tenants."""
    if tenants is None:
        return sorted(run.tenants.values()) if run.selects_tenants else None
    unknown = [tenant for tenant in tenants if tenant not in run.tenants]
    if unknown:
        raise UnknownTenant(
            f"{table.qualified_name}: run {run.run_id} was not started for tenant {unknown[0]!r}"
        )
    return sorted({run.tenants[tenant] for tenant in tenants})


def _session_settings(connection: psycopg.Connection) -> dict[str, str]:
    names = ("enable_nestloop", "enable_mergejoin", "enable_seqscan")
    settings = {
        name: str(value)
        for name, value in connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(names)]
        )
    }
    return {**settings, "search_path": role_search_path(connection)}


@dataclass(frozen=True)
class _LeafToDo:
    leaf: Leaf
    counts: dict[int, TenantCount]

    def rows_to_write(self, *, overwrites: bool) -> int:
        return sum(count.empty + (count.different if overwrites else 0) for count in self.counts.values())


def _backfill(work: Work, started: float) -> TableResult:
    run, table = work.run, work.table
    overwrites = table.settings.on_existing_value == "overwrite"

    work.refuse_when_stopped()
    _set_table_state(work, State.RUNNING)
    drop_empty_check(work.ddl, table, table_id=work.table_id)
    created = ensure_column(work.ddl, table, table_id=work.table_id, run_id=run.run_id)
    work.tally.created += [created] if created else []
    ensure_journal(work.ddl, table, table_id=work.table_id, run_id=run.run_id)
    prepare_fingerprints(work)
    if table.settings.build_index == "early":
        work.retry.run(f"structure of {table.qualified_name}", lambda _: build_structure(work))

    to_do = [_LeafToDo(leaf, count_by_tenant(work, leaf)) for leaf in leaves_of(work)]
    different = _sum_up([existing.different_rows(part.counts) for part in to_do])
    existing.refuse_different(work, different)
    work.tally.rows_in_scope = sum(count.total for part in to_do for count in part.counts.values())
    work.tally.rows_expected = sum(part.rows_to_write(overwrites=overwrites) for part in to_do)
    strategy = strategy_of(work, to_do[0].leaf).value if to_do else table.strategy.value
    keeps = table.settings.on_existing_value == "keep"
    _note_counts(work, strategy, sum(different.values()) if keeps else 0)
    _end_dead_rollbacks(work)
    _set_pairs(work, work.scope_numbers, State.RUNNING, None)
    failpoints.reach(failpoints.PAIRS_RUNNING)
    unclaimed = ensure_claims(work)
    if keeps and different:
        for part in to_do:
            existing.record_kept(work, part.leaf)

    for part in to_do:
        rows = part.rows_to_write(overwrites=overwrites)
        if work.tenant_numbers is None:
            bulk_pass(work, part.leaf, rows)
        else:
            selection_pass(work, part.leaf, rows)

    _set_table_state(work, State.SWEEPING)
    remaining = sweep(work)
    quarantine.resolve(work)
    build_tenant_index(work)
    quarantined = quarantine.still_open(work)
    if table.settings.build_index != "early":
        left = remaining + sum(rows.row_count for rows in quarantined.values())
        work.refuse_when_stopped()
        work.retry.run(
            f"structure of {table.qualified_name}", lambda _: build_structure(work, rows_left=left)
        )

    kept = different if keeps else {}
    journaled = _count_journal(work, work.scope_numbers)
    by_tenant = journaled.by_this_run
    _finish_pairs(work, journaled.by_all_runs, remaining=remaining, quarantined=quarantined, kept=kept)
    _set_table_state(work, State.VERIFYING)
    failpoints.reach(failpoints.PAIRS_VERIFYING)
    names = {number: tenant for tenant, number in run.tenants.items()}
    work.report(State.VERIFYING)
    return TableResult(
        table=table.qualified_name,
        run_id=run.run_id,
        strategy=strategy if work.tenant_numbers is None else f"tenant_selection ({strategy})",
        rows_expected=work.tally.rows_expected,
        rows_migrated=sum(by_tenant.values()),
        rows_kept=sum(kept.values()),
        rows_remaining=remaining,
        rows_quarantined=sum(rows.row_count for rows in quarantined.values()),
        rows_hot=work.tally.rows_hot,
        batches=work.tally.batches,
        sweeps=work.tally.sweeps,
        seconds=work.clock.monotonic() - started,
        rows_by_tenant={names[number]: count for number, count in by_tenant.items()},
        quarantined=quarantine.samples(work),
        created=tuple(work.tally.created),
        waiting=(*work.tally.waiting, *([unclaimed] if unclaimed else [])),
        resumed=work.tally.resumed,
    )


def _count_journal(work: Work, tenants: Sequence[int]) -> Journaled:
    def count(connection: psycopg.Connection) -> Journaled:
        with work.keep_alive.long_statement():
            return count_rows(connection, work.table_id, run_id=work.run.run_id, tenants=tenants)

    return work.retry.run(f"counting the journal of {work.table.qualified_name}", count)


def _finish_pairs(
    work: Work,
    counts: dict[int, int],
    *,
    remaining: int,
    quarantined: dict[int, quarantine.OpenRows],
    kept: dict[int, int],
) -> None:
    """Fail tenants with rows in quarantine, and all when rows are left; hand on the others."""
    good = [number for number in work.scope_numbers if number not in quarantined]
    for rows in set(quarantined.values()):
        _set_pairs(
            work,
            [number for number in quarantined if quarantined[number] == rows],
            State.FAILED,
            f"{work.table.qualified_name}: {counted(rows.row_count, 'row')} in quarantine, the first for: "
            f"{rows.first_reason}. Table tenant_migration.quarantine lists them; mend them, then run again",
            rows_migrated=counts,
            rows_kept=kept,
        )
    if remaining:
        reason = (
            f"{work.table.qualified_name}: {remaining:,} rows still have no organization after {SWEEPS_MOST} "
            "sweeps: the application writes them faster than they are filled, or keeps them locked. Let it "
            "write the organization itself, or end the transactions that hold them, then run again"
        )
        _set_pairs(work, good, State.FAILED, reason, rows_migrated=counts, rows_kept=kept)
    else:
        _set_pairs(work, good, State.VERIFYING, None, rows_migrated=counts, rows_kept=kept)


def _end_dead_rollbacks(work: Work) -> None:
    work.retry.run(
        f"rollbacks of {work.table.qualified_name}",
        lambda connection: end_dead_rollbacks(
            connection,
            table_name=work.table.qualified_name,
            table_id=work.table_id,
            tenant_numbers=work.scope_numbers,
            run_id=work.run.run_id,
            actor=work.run.actor,
        ),
    )


def _set_pairs(
    work: Work,
    numbers: Sequence[int],
    state: State,
    reason: str | None,
    *,
    rows_migrated: dict[int, int] | None = None,
    rows_kept: dict[int, int] | None = None,
) -> None:
    def change(connection: psycopg.Connection) -> None:
        set_pair_states(
            connection,
            table_id=work.table_id,
            tenant_numbers=numbers,
            state=state,
            actor=work.run.actor,
            reason=reason,
            run_id=work.run.run_id,
            rows_migrated=rows_migrated,
            rows_kept=rows_kept,
        )

    work.retry.run(f"states of {work.table.qualified_name}", change)


def _set_table_state(work: Work, state: State, reason: str | None = None) -> None:
    def change(connection: psycopg.Connection) -> None:
        set_table_run_state(
            connection,
            run_id=work.run.run_id,
            table_id=work.table_id,
            state=state,
            actor=work.run.actor,
            reason=reason,
        )

    work.retry.run(f"state of {work.table.qualified_name}", change)


def _note_counts(work: Work, strategy: str, kept: int) -> None:
    def note(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute(
                "UPDATE tenant_migration.table_runs SET strategy = %s, rows_expected = %s, rows_kept = %s"
                " WHERE run_id = %s AND table_id = %s",
                (strategy, work.tally.rows_expected, kept, work.run.run_id, work.table_id),
            )

    work.retry.run(f"counts of {work.table.qualified_name}", note)


def _sum_up(parts: Sequence[dict[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in parts:
        for number, count in part.items():
            total[number] = total.get(number, 0) + count
    return total


def _record_failure(work: Work, error: BaseException) -> None:
    """Note in the database why the table's run ended, and give the lease back, if the database can be asked.

    Errors here must not take the place of the one that is being raised.
    """
    state, reason = state_after(error), reason_of(error)
    bring_to_rest(work.session.connection)
    try:
        if work.session.lost:
            work.session.on_reconnect = None  # a run that was stopped may still say how it ended
            work.session.reconnect(1)
        numbers = work.retry.run(f"states of {work.table.qualified_name}", lambda c: _in_our_hands(c, work))
        counts = None
        if journal_exists(work.session.connection, work.table_id):
            counts = count_rows(
                work.session.connection, work.table_id, run_id=work.run.run_id, tenants=numbers
            ).by_all_runs
        _set_pairs(work, numbers, state, reason, rows_migrated=counts)
        _set_table_state(work, state, reason)
        leases.release(work.session.connection, work.lease)
    except (psycopg.Error, TenantMigrationError) as second:
        _log.warning("%s: that the run ended could not be recorded: %s", work.table.qualified_name, second)


def _in_our_hands(connection: psycopg.Connection, work: Work) -> list[int]:
    """Return the tenants in scope whose pair this run is working on."""
    rows = connection.execute(
        "SELECT tenant_number FROM tenant_migration.table_states WHERE table_id = %s AND run_id = %s"
        " AND state IN ('validating', 'running') AND tenant_number = ANY (%s::int4[])",
        (work.table_id, work.run.run_id, work.scope_numbers),
    ).fetchall()
    return [int(row[0]) for row in rows]
