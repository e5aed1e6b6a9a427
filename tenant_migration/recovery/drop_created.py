"""Drops what the tool made on one table: only what is registered, and never under a long lock.

In two parts, with the rollback of the whole table between them: foreign key and index go first, so that the
rows can be reset in place (HOT); claim trigger and column go last, when no row needs them any more. Every
step looks at what is there, so that a process that died anywhere is followed by one that finishes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill import lease as leases
from tenant_migration.backfill.claims_sql import drop_claims
from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.journal import journal_exists
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.column import column_exists
from tenant_migration.backfill.structure.created_objects import Registered, registered
from tenant_migration.backfill.structure.empty_check import (
    add_empty_check_statement,
    drop_empty_check,
    empty_check_exists,
    empty_check_name,
    registered_empty_checks,
)
from tenant_migration.backfill.structure.foreign_key import validate_statement
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import bring_to_rest, outside_transaction, transaction
from tenant_migration.errors import OperationFailed, Refused, TenantMigrationError
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery import drop_created_sql
from tenant_migration.recovery.column_dependents import dependents_of_column

_log = logging.getLogger(__name__)

_CONCURRENT_LOCK_TIMEOUT_MS = 600_000
"""A concurrent drop waits for older transactions to end, blocking nobody meanwhile: the limit may be long."""
_SHOWN = 5


def reasons_against_drop(connection: psycopg.Connection, table: TablePlan) -> list[str]:
    """Return why the column that we made could not be dropped after a rollback; empty: nothing is known.

    Looked at before anything is taken back: what is dropped first (foreign key, index) would be missed by an
    application that goes on with the column. Reads only; scans the table for values that we did not write.
    """
    table_id = table_ids(connection)[table.qualified_name]
    if not _column_of_ours(connection, table, table_id):
        return []
    reasons = _dependents(connection, table, table_id)
    with transaction(connection, statement_timeout_ms=0, read_only=True, isolation="repeatable read"):
        held, _ = _values_held(connection, table)
        written = _open_entries(connection, table_id)
    if held > written:
        reasons.append(
            f"{counted(held - written, 'row')} with a value in {table.organization_column} "
            "that the migration did not write"
        )
    return reasons


def drop_foreign_key_and_index(
    connection: psycopg.Connection, plan: Plan, table: TablePlan, run: Run, *, clock: Clock | None = None
) -> list[str]:
    """Drop the foreign key and the index that we made; return what was dropped, as sentences.

    1. Take the lease on the whole table.
    2. Foreign keys, the partitioned table's first: those attached to it go with it.
    3. Indexes, concurrently; a partitioned table's takes those of its partitions with it.

    Raises:
        LeaseHeld: another run works on the table.
        OperationFailed: a lock could not be had; what was dropped stays dropped, run again.
    """
    with _working(connection, plan, table, run, clock) as work:
        dropped = [str(key) for key in _root_first(work, "foreign_key") if _drop_foreign_key(work, key)]
        failpoints.reach(failpoints.FOREIGN_KEY_DROPPED)
        dropped += [str(index) for index in _root_first(work, "index") if _drop_index(work, index)]
        failpoints.reach(failpoints.INDEX_DROPPED)
    return dropped


def drop_column_and_claims(
    connection: psycopg.Connection, plan: Plan, table: TablePlan, run: Run, *, clock: Clock | None = None
) -> list[str]:
    """Drop the column that we made, when it is empty, and what records the application's own writes.

    1. Take the lease on the whole table; refuse while an entry of the journal is open, the column holds a
       value, or something that we did not make depends on it.
    2. A column of ours: register and add `CHECK (column IS NULL) NOT VALID`: from here on it stays empty.
    3. Validate it: a scan that blocks neither reads nor writes.
    4. In one short transaction: lock, look once more for dependents, drop claim trigger, its function and
       table, the column, and note all of it.

    Returns:
        What was dropped, as sentences; empty when nothing was left.

    Raises:
        Refused: step 1 or 3; the rows stay taken back, the column and the trigger stay.
        LeaseHeld, OperationFailed: as `drop_foreign_key_and_index`.
    """
    with _working(connection, plan, table, run, clock) as work:
        _refuse_open_entries(work)
        triggers = registered(work.session.connection, work.table_id, "trigger")
        columns = _column_of_ours(work.session.connection, table, work.table_id)
        if not columns:
            return _drop(work, triggers, [])
        try:
            _keep_empty(work)
            return _drop(work, triggers, columns)
        except BaseException as error:
            _give_up_empty_check(work, error)
            raise


@contextmanager
def _working(
    connection: psycopg.Connection, plan: Plan, table: TablePlan, run: Run, clock: Clock | None
) -> Iterator[Work]:
    """Hold the lease on the whole table while the body works."""
    time = clock or Clock()
    table_id = table_ids(connection)[table.qualified_name]
    with Session(connection, time) as session:
        lease = leases.acquire(
            session,
            table_name=table.qualified_name,
            table_id=table_id,
            tenant_numbers=None,
            run_id=run.run_id,
            holder=run.holder,
            ttl_s=table.settings.lease_ttl_s,
            wait_s=table.settings.lease_wait_s,
            clock=time,
        )
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
                tenant_numbers=None,
                progress=None,
                session_settings={},
            )
            try:
                yield work
            except BaseException:
                _release_after_failure(work)
                raise
        work.retry.run(f"lease of {table.qualified_name}", lambda c: leases.release(c, lease))


def _release_after_failure(work: Work) -> None:
    """Give the lease back; an error here must not take the place of the one that is being raised."""
    try:
        bring_to_rest(work.session.connection)
        if not work.session.lost:
            leases.release(work.session.connection, work.lease)
    except psycopg.Error as second:
        _log.warning("%s: the lease could not be given back: %s", work.table.qualified_name, second)


def _root_first(work: Work, kind: created_objects.Kind) -> list[Registered]:
    made = registered(work.session.connection, work.table_id, kind)
    return sorted(made, key=lambda item: item.on_relation != work.table.name)


def _drop_foreign_key(work: Work, key: Registered) -> bool:
    """Drop one foreign key; say whether it was there."""
    was_there = False

    def drop(connection: psycopg.Connection) -> None:
        nonlocal was_there
        found = connection.execute(
            drop_created_sql.FOREIGN_KEY_EXISTS, (key.on_relation.schema, key.on_relation.name, key.name)
        ).fetchone()
        if found and found[0]:
            was_there = True
            connection.execute(drop_created_sql.drop_constraint(key.on_relation, key.name))
        created_objects.mark_dropped(connection, key.object_id)

    work.ddl.run(f"dropping {key}", drop)
    return was_there


def _drop_index(work: Work, index: Registered) -> bool:
    """Drop one index; say whether it was there. One that is attached goes with its parent's."""
    found = work.session.connection.execute(
        drop_created_sql.INDEX, (index.on_relation.schema, index.on_relation.name, index.name)
    ).fetchone()
    if found is not None:
        of_partitioned, attached = found
        if attached:
            return False
        statement = drop_created_sql.drop_index(index.schema, index.name, concurrently=not of_partitioned)
        if of_partitioned:

            def drop_at_once(connection: psycopg.Connection) -> None:
                connection.execute(statement)

            work.ddl.run(f"dropping {index}", drop_at_once)
        else:

            def drop_concurrently(connection: psycopg.Connection) -> None:
                with (
                    work.keep_alive.long_statement(f"the drop of index {index.name}"),
                    outside_transaction(connection, lock_timeout_ms=_CONCURRENT_LOCK_TIMEOUT_MS),
                ):
                    connection.execute(statement)

            work.retry.run(f"dropping {index}", drop_concurrently)
    with transaction(work.session.connection, lock_timeout_ms=5_000):
        created_objects.mark_dropped(work.session.connection, index.object_id)
    return found is not None


def _refuse_open_entries(work: Work) -> None:
    left = _open_entries(work.session.connection, work.table_id)
    if left:
        raise Refused(
            f"{work.table.qualified_name}: {counted(left, 'row')} with what the migration wrote, so nothing "
            "more was dropped: roll the whole table back first"
        )


def _keep_empty(work: Work) -> None:
    """See that the column is empty, and that it stays so."""
    table = work.table
    connection = work.session.connection
    _refuse_dependents(_dependents(connection, table, work.table_id), table)
    if not empty_check_exists(connection, table):  # else one that died between has left it: it holds already
        with (
            work.keep_alive.long_statement("a scan for values"),
            transaction(connection, statement_timeout_ms=0, read_only=True),
        ):
            _refuse_values(*_values_held(connection, table), table)
    statement = add_empty_check_statement(table)
    made = created_objects.Object(
        "constraint",
        table.schema_name,
        empty_check_name(table),
        table.name,
        statement.as_string(connection),
    )
    object_id = created_objects.register(connection, made, table_id=work.table_id, run_id=work.run.run_id)
    failpoints.reach(failpoints.EMPTY_CHECK_REGISTERED)

    def add(within: psycopg.Connection) -> None:
        if not empty_check_exists(within, table):
            within.execute(statement)
        created_objects.mark_created(within, object_id)

    work.ddl.run(str(made), add)
    failpoints.reach(failpoints.EMPTY_CHECK_ADDED)

    def validate(within: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement("the validation that its column is empty"),
            transaction(within, lock_timeout_ms=60_000, statement_timeout_ms=0),
        ):
            within.execute(validate_statement(table.name, empty_check_name(table)))

    try:
        work.retry.run(f"{made}, validated", validate)
    except psycopg.errors.CheckViolation as error:
        with transaction(work.session.connection, statement_timeout_ms=0, read_only=True):
            _refuse_values(*_values_held(work.session.connection, table), table)
        raise Refused(
            f"{table.qualified_name}: the application is writing {table.organization_column} at this moment, "
            "so the column stays"
        ) from error
    failpoints.reach(failpoints.EMPTY_CHECK_VALIDATED)


def _drop(work: Work, triggers: list[Registered], columns: list[Registered]) -> list[str]:
    """Drop trigger, function, table of claims and column in one short transaction."""
    table = work.table
    checks = registered_empty_checks(work.session.connection, table, work.table_id)
    if not triggers and not columns:
        return []
    there = [trigger for trigger in triggers if _trigger_exists(work.session.connection, trigger)]

    def drop(connection: psycopg.Connection) -> None:
        connection.execute(drop_created_sql.lock_table(table))
        if columns:
            _refuse_dependents(_dependents(connection, table, work.table_id), table)
        for trigger in triggers:
            connection.execute(drop_created_sql.drop_trigger(trigger.on_relation, trigger.name))
        for statement in drop_claims(work.table_id):
            connection.execute(statement)
        if columns:
            connection.execute(drop_created_sql.drop_column(table))  # the CHECK goes with it
        for item in [*triggers, *columns, *(checks if columns else [])]:
            created_objects.mark_dropped(connection, item.object_id)

    work.ddl.run(f"dropping what was made on {table.qualified_name}", drop)
    failpoints.reach(failpoints.COLUMN_DROPPED)
    return [str(item) for item in [*there, *columns]]


def _trigger_exists(connection: psycopg.Connection, trigger: Registered) -> bool:
    found = connection.execute(
        drop_created_sql.TRIGGER_EXISTS, (trigger.on_relation.schema, trigger.on_relation.name, trigger.name)
    ).fetchone()
    return bool(found and found[0])


def _give_up_empty_check(work: Work, error: BaseException) -> None:
    """Let the application write the column again, since it stays.

    Raises:
        OperationFailed: the CHECK could not be taken away, which a person has to know.
    """
    try:
        bring_to_rest(work.session.connection)
        if work.session.lost:
            work.session.reconnect(work.table.settings.retry_attempts)
        drop_empty_check(work.ddl, work.table, table_id=work.table_id)
    except (psycopg.Error, TenantMigrationError) as second:
        raise OperationFailed(
            f"{work.table.qualified_name}: the column stays ({error}), and so does the constraint "
            f"{empty_check_name(work.table)}, which refuses every write of {work.table.organization_column}: "
            f"it could not be dropped ({second}). Run the same rollback again, or drop it yourself"
        ) from error


def _column_of_ours(connection: psycopg.Connection, table: TablePlan, table_id: int) -> list[Registered]:
    """Return the organization column as it is registered, when we made it and it is there."""
    made = [
        item
        for item in registered(connection, table_id, "column")
        if item.name == table.organization_column and item.on_relation == table.name
    ]
    return made if made and column_exists(connection, table) else []


def _dependents(connection: psycopg.Connection, table: TablePlan, table_id: int) -> list[str]:
    ours = registered(connection, table_id, "index", "foreign_key", "constraint", "trigger")
    return [f"{dependent} depends on it" for dependent in dependents_of_column(connection, table, ours)]


def _refuse_dependents(dependents: list[str], table: TablePlan) -> None:
    if not dependents:
        return
    more = f" and {len(dependents) - _SHOWN} more" if len(dependents) > _SHOWN else ""
    raise Refused(
        f"{table.qualified_name}: column {table.organization_column} stays: "
        f"{'; '.join(dependents[:_SHOWN])}{more}. Drop what depends on it first, or leave out --drop-created"
    )


def _values_held(connection: psycopg.Connection, table: TablePlan) -> tuple[int, list[str]]:
    row = connection.execute(drop_created_sql.values_held(table)).fetchone()
    return (0, []) if row is None else (int(row[0]), list(row[1]))


def _refuse_values(held: int, examples: list[str], table: TablePlan) -> None:
    if held:
        raise Refused(
            f"{table.qualified_name}: column {table.organization_column} stays: {counted(held, 'row')} "
            f"with a value that the application wrote ({', '.join(examples[:_SHOWN])}). Empty them first, or "
            "leave out --drop-created"
        )


def _open_entries(connection: psycopg.Connection, table_id: int) -> int:
    if not journal_exists(connection, table_id):
        return 0
    row = connection.execute(drop_created_sql.open_entries(table_id)).fetchone()
    return int(row[0]) if row else 0
