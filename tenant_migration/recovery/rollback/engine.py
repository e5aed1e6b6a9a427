"""Rolls back one table: the order of the steps. Each step is a module of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill import lease as leases
from tenant_migration.backfill.claims import claims_exist, triggers_work
from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.ending import reason_of, state_after
from tenant_migration.backfill.journal import journal_exists
from tenant_migration.backfill.leaves import read_leaves
from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.states import State
from tenant_migration.database.connection import bring_to_rest, role_search_path, transaction
from tenant_migration.errors import TenantMigrationError, UnknownTenant
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery.results import PreviousValues, RollbackResult
from tenant_migration.recovery.rollback import outcome
from tenant_migration.recovery.rollback.from_backup import ensure_index_by_key
from tenant_migration.recovery.rollback.kept import close_kept
from tenant_migration.recovery.rollback.lost_entries import rebuild_lost_entries, refuse_gaps
from tenant_migration.recovery.rollback.rekeyed import rows_with_another_key
from tenant_migration.recovery.rollback.scope import count_open
from tenant_migration.recovery.rollback.taking_back import take_back
from tenant_migration.recovery.rollback.work import Work

_log = logging.getLogger(__name__)

_SETTINGS = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "enable_bitmapscan")


def roll_back_table(
    connection: psycopg.Connection,
    plan: Plan,
    table: TablePlan,
    run: Run,
    *,
    tenants: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
    clock: Clock | None = None,
    emergency: bool = False,
    previous: PreviousValues | None = None,
) -> RollbackResult:
    """Take back what the migration wrote to one table, while the application goes on writing.

    1. Take the lease; name whoever holds it.
    2. Count the open entries of the journal; pairs with something to take back become `rolling_back`. A
       rollback of the whole table forgets where its bulk passes stand.
    3. Close the entries of values that were kept: nothing was written there.
    4. Take the batches back, the newest first, in steps of about `batch_target_ms`.
    5. List the journal again until nothing is open that could be taken back.
    6. Count what is left by the journal; compare with the counters of the steps.
    7. Pairs become `rolled_back`, or `failed` where entries stay open; give the lease back.

    Args:
        connection: in autocommit mode. When it is lost, the engine goes on with one of its own; the caller's
            stays closed.
        plan: the stored plan.
        table: one of its tables.
        run: started by `start_rollback`.
        tenants: only these of the run's; None: all of the run's.
        progress: called after every step.
        clock: replaced by tests.
        emergency: go on while the emergency switch is set.
        previous: bring back the values of a backup instead of the journal's own.

    Returns:
        What was done; rows that were left alone are listed in `tenant_migration.left_alone`.

    Raises:
        Refused: row security would hide rows.
        JournalIncomplete: it does not name every row that is recorded as migrated; nothing was changed.
        LeaseHeld: another run works on the table.
        LeaseLost, RunStopped, OperationFailed, psycopg.Error: it could not go on. What was committed stays,
            and is closed in the journal; pairs and the table's run say `failed` or `cancelled`; a new
            rollback does what is left.
    """
    time = clock or Clock()
    started = time.monotonic()
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
        failpoints.reach(failpoints.ROLLBACK_LEASE_ACQUIRED)
        with leases.KeepAlive(
            session,
            lease,
            table_name=table.qualified_name,
            run_id=run.run_id,
            table_id=table_id,
            heeds_switch=not emergency,
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
                emergency=emergency,
                has_claims=claims_exist(session.connection, table_id),
                previous=previous,
            )
            try:
                result = _roll_back(work, started)
            except BaseException as error:
                _record_failure(work, error)
                raise
        work.retry.run(f"lease of {table.qualified_name}", lambda c: leases.release(c, lease))
        return result


def _scope(run: Run, table: TablePlan, tenants: Sequence[str] | None) -> list[int] | None:
    """Return the numbers of the tenants in scope; None: whatever the journal holds."""
    if tenants is None:
        return sorted(run.tenants.values()) if run.selects_tenants else None
    unknown = [tenant for tenant in tenants if tenant not in run.tenants]
    if unknown:
        raise UnknownTenant(
            f"{table.qualified_name}: run {run.run_id} found nothing of tenant {unknown[0]!r} to take back"
        )
    return sorted({run.tenants[tenant] for tenant in tenants})


def _session_settings(connection: psycopg.Connection) -> dict[str, str]:
    settings = {
        name: str(value)
        for name, value in connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        )
    }
    return {**settings, "search_path": role_search_path(connection)}


def _roll_back(work: Work, started: float) -> RollbackResult:
    work.refuse_when_stopped()
    rebuild_lost_entries(work)
    has_journal = work.retry.run(
        f"journal of {work.name}", lambda connection: journal_exists(connection, work.table_id)
    )
    expected = count_open(work) if has_journal else {}
    refuse_gaps(work, expected)
    work.tally.rows_expected = sum(expected.values())
    if expected:  # raises where row security would hide rows
        work.retry.run(f"leaves of {work.name}", lambda connection: read_leaves(connection, work.table))
    outcome.set_table_state(work, State.ROLLING_BACK)
    outcome.note_expected(work)
    pairs = outcome.touched_pairs(work, list(expected))
    outcome.set_pairs(work, pairs, State.ROLLING_BACK, None)
    failpoints.reach(failpoints.ROLLBACK_PAIRS_STARTED)
    if expected and not triggers_work(work.session.connection, work.table, work.table_id):
        work.tally.notes.append(
            "No claim trigger is at work: where the application itself wrote the very value that we had "
            "written, that cannot be told apart, and it was taken back."
        )
    if work.tenant_numbers is None:
        _forget_cursors(work)
    ensure_index_by_key(work)
    failed: set[int] = set()
    if has_journal:
        close_kept(work)
        failed = take_back(work)

    still_open = count_open(work) if failed else {}
    failpoints.reach(failpoints.ROLLBACK_COUNTED)
    changed, deleted = outcome.left_alone_by_tenant(work)
    restored = {
        number: count - sum(part.get(number, 0) for part in (still_open, changed, deleted))
        for number, count in expected.items()
    }
    if deleted:
        work.tally.notes += rows_with_another_key(work)
    result = _result(work, started, expected, restored, changed, deleted, still_open)
    outcome.compare_with_counters(
        work, restored=result.rows_restored, changed=result.rows_changed, deleted=result.rows_deleted
    )
    outcome.end_pairs(work, pairs, still_open)
    state = State.FAILED if still_open else State.ROLLED_BACK
    reason = f"{counted(result.rows_failed, 'row')} could not be reset" if still_open else None
    outcome.set_table_state(work, state, reason)
    work.report()
    return result


def _forget_cursors(work: Work) -> None:
    def forget(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute("DELETE FROM tenant_migration.cursors WHERE table_id = %s", (work.table_id,))

    work.retry.run(f"cursors of {work.name}", forget)
    failpoints.reach(failpoints.ROLLBACK_CURSORS_DROPPED)


def _result(
    work: Work,
    started: float,
    expected: dict[int, int],
    restored: dict[int, int],
    changed: dict[int, int],
    deleted: dict[int, int],
    still_open: dict[int, int],
) -> RollbackResult:
    names = _tenant_names(work, list(expected))

    def named(counts: dict[int, int]) -> dict[str, int]:
        return {names[number]: count for number, count in sorted(counts.items())}

    return RollbackResult(
        table=work.name,
        run_id=work.run.run_id,
        rows_expected=sum(expected.values()),
        rows_restored=sum(restored.values()),
        rows_changed=sum(changed.values()),
        rows_deleted=sum(deleted.values()),
        rows_failed=sum(still_open.values()),
        batches=work.tally.batches,
        seconds=work.clock.monotonic() - started,
        restored_by_tenant=named(restored),
        changed_by_tenant=named(changed),
        deleted_by_tenant=named(deleted),
        failed_by_tenant=named(still_open),
        left_alone=outcome.samples(work),
        left_alone_by_tenant=outcome.samples_by_tenant(work),
        notes=tuple(work.tally.notes),
    )


def _tenant_names(work: Work, numbers: list[int]) -> dict[int, str]:
    rows = work.retry.run(
        f"tenants of {work.name}",
        lambda connection: connection.execute(
            "SELECT tenant_number, tenant_id FROM tenant_migration.tenants"
            " WHERE tenant_number = ANY (%s::int4[])",
            (numbers,),
        ).fetchall(),
    )
    return {int(number): str(tenant) for number, tenant in rows}


def _record_failure(work: Work, error: BaseException) -> None:
    """Note in the database why the table's rollback ended, and give the lease back, if it can be asked.

    Errors here must not take the place of the one that is being raised.
    """
    state, reason = state_after(error), reason_of(error)
    bring_to_rest(work.session.connection)
    try:
        if work.session.lost:
            work.session.reconnect(1)
        pairs = outcome.in_our_hands(work)
        has_journal = journal_exists(work.session.connection, work.table_id)
        counts = count_open(work, after_stop=True) if has_journal else {}
        outcome.set_pairs(work, pairs, state, reason, rows_migrated=counts)
        outcome.set_table_state(work, state, reason)
        leases.release(work.session.connection, work.lease)
    except (psycopg.Error, TenantMigrationError) as second:
        _log.warning("%s: that the rollback ended could not be recorded: %s", work.name, second)
