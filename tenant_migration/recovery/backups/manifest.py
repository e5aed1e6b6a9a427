"""The register of backups: written and committed before anything is made, so that what is ours is known.

A backup is `creating` until the transaction that holds its rows says `complete`. Its process holds the row
locked meanwhile; one that is not locked, and whose server process is gone, is abandoned: it has no rows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from tenant_migration.backfill.states import State
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused
from tenant_migration.recovery.backups.columns import CHECKSUM_FORMULA, Source
from tenant_migration.recovery.backups.copy_sql import own_relation, shared_relation
from tenant_migration.recovery.backups.space import Space, refuse_beyond
from tenant_migration.version import VERSION

_LOCK_TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Part:
    """One table of a backup."""

    source: Source
    relation: str
    """Bare name of what it is copied to."""
    backup_column: str | None
    """Its column with the backup's number; None: the relation is this backup's alone."""


@dataclass(frozen=True)
class Copied:
    """What was counted of a part."""

    part: Part
    rows: int
    source_checksum: int
    copy_checksum: int
    journal_batch_id: int | None


@dataclass(frozen=True)
class Registered:
    """A backup that is about to be made."""

    backup_id: int
    run_id: int
    parts: tuple[Part, ...]


_INSERT_RUN = """
INSERT INTO tenant_migration.runs
    (kind, state, actor, selection, dagster_run_id, tool_version, host, process_id)
VALUES ('backup', 'running', %s, %s, %s, %s, %s, %s) RETURNING run_id"""

_INSERT_BACKUP = """
INSERT INTO tenant_migration.backups
    (run_id, tenants, created_by, tool_version, backend_pid, backend_start, space, bytes_expected)
SELECT %s, %s::text[], %s, %s, own.pid, own.backend_start, %s, %s
FROM pg_stat_get_activity(pg_backend_pid()) AS own RETURNING backup_id"""

_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock('tenant_migration.backups'::regclass::oid::int8)"

_INSERT_TABLE = """
INSERT INTO tenant_migration.backed_up_tables (backup_id, table_id, relation, backup_column, column_names)
VALUES (%s, %s, %s, %s, %s)"""


def register(
    connection: psycopg.Connection,
    sources: Sequence[Source],
    *,
    tenants: Sequence[str] | None,
    actor: str,
    space: Space,
    max_bytes: int | None,
    dagster_run_id: str | None,
) -> Registered:
    """Register a backup, its run, and the relation that each of its tables is copied to.

    Raises:
        Refused: another backup, registered since `space` was looked at, leaves too little room for this one.
    """
    names = None if tenants is None else list(tenants)
    selection = {"tables": [source.table.qualified_name for source in sources], "tenants": names}
    run = (actor, Jsonb(selection), dagster_run_id, VERSION, socket.gethostname(), os.getpid())
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        if max_bytes is not None:
            connection.execute(_ONE_AT_A_TIME)
            refuse_beyond(connection, max_bytes, space.bytes_needed)
        run_id = _number(connection.execute(_INSERT_RUN, run).fetchone())
        backup = (run_id, names, actor, VERSION, str(space), space.bytes_needed)
        backup_id = _number(connection.execute(_INSERT_BACKUP, backup).fetchone())
        parts = [
            Part(source, shared_relation(source), source.backup_column)
            if tenants is not None
            else Part(source, own_relation(backup_id, source.table_id), None)
            for source in sources
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                _INSERT_TABLE,
                [
                    (
                        backup_id,
                        part.source.table_id,
                        part.relation,
                        part.backup_column,
                        part.source.column_names,
                    )
                    for part in parts
                ],
            )
    return Registered(backup_id, run_id, tuple(parts))


def lock_while_creating(connection: psycopg.Connection, backup_id: int) -> None:
    """Hold the backup's row for the rest of the transaction: its maker is alive.

    Raises:
        Refused: somebody took it for abandoned.
    """
    row = connection.execute(
        "SELECT state FROM tenant_migration.backups WHERE backup_id = %s FOR UPDATE", (backup_id,)
    ).fetchone()
    if row is None or row[0] != "creating":
        raise Refused(f"backup {backup_id} was taken for abandoned by somebody else; start it again")


def complete(
    connection: psycopg.Connection, registered: Registered, copied: Sequence[Copied], *, lsn: str
) -> None:
    """Say that the backup is complete. Part of the transaction that holds its rows."""
    for one in copied:
        connection.execute(
            "UPDATE tenant_migration.backed_up_tables SET row_count = %s, source_checksum = %s,"
            " copy_checksum = %s, journal_batch_id = %s, checksum_formula = %s"
            " WHERE backup_id = %s AND table_id = %s",
            (
                one.rows,
                one.source_checksum,
                one.copy_checksum,
                one.journal_batch_id,
                CHECKSUM_FORMULA,
                registered.backup_id,
                one.part.source.table_id,
            ),
        )
    connection.execute(
        "UPDATE tenant_migration.backups SET state = 'complete', created_at = transaction_timestamp(),"
        " finished_at = clock_timestamp(), lsn = %s, snapshot = pg_current_snapshot() WHERE backup_id = %s",
        (lsn, registered.backup_id),
    )
    connection.execute(
        "UPDATE tenant_migration.runs SET state = 'completed', finished_at = clock_timestamp()"
        " WHERE run_id = %s AND state = 'running'",
        (registered.run_id,),
    )


def fail(connection: psycopg.Connection, registered: Registered, *, state: State, reason: str) -> None:
    """Say that the backup was not made; nothing of it is left. One that is complete stays so."""
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        connection.execute(
            "UPDATE tenant_migration.backups"
            " SET state = 'failed', reason = %s, finished_at = clock_timestamp()"
            " WHERE backup_id = %s AND state = 'creating'",
            (reason, registered.backup_id),
        )
        connection.execute(
            "UPDATE tenant_migration.runs SET state = CASE WHEN state = 'cancelled' THEN state ELSE %s END,"
            " reason = coalesce(reason, %s), finished_at = coalesce(finished_at, clock_timestamp())"
            " WHERE run_id = %s AND state IN ('running', 'cancelled')",
            (state.value, reason, registered.run_id),
        )


_ABANDONED = """
WITH abandoned AS (
    SELECT b.backup_id, b.run_id FROM tenant_migration.backups AS b
    WHERE b.state = 'creating' AND NOT EXISTS (
        SELECT FROM pg_stat_activity AS a
        WHERE a.pid = b.backend_pid AND a.pid <> pg_backend_pid()
          AND coalesce(a.backend_start, b.backend_start) = b.backend_start)
    FOR UPDATE SKIP LOCKED),
failed AS (
    UPDATE tenant_migration.backups AS b
    SET state = 'failed', reason = %(reason)s, finished_at = clock_timestamp()
    FROM abandoned WHERE b.backup_id = abandoned.backup_id),
ended AS (
    UPDATE tenant_migration.runs AS r
    SET state = 'failed', reason = %(reason)s, finished_at = clock_timestamp()
    FROM abandoned WHERE r.run_id = abandoned.run_id AND r.state = 'running')
SELECT backup_id, run_id FROM abandoned ORDER BY backup_id"""


def fail_abandoned(connection: psycopg.Connection) -> list[tuple[int, int]]:
    """Say of backups whose process died that they were not made; return their numbers and their runs'."""
    reason = {"reason": "its process ended before it was complete; nothing of it is left"}
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        return connection.execute(_ABANDONED, reason).fetchall()


def hold(connection: psycopg.Connection, backup_id: int, *, actor: str) -> str:
    """Keep a backup whatever its age.

    Returns:
        Who holds it: whoever asked first.

    Raises:
        Refused: there is no such backup.
    """
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        row = connection.execute(
            "UPDATE tenant_migration.backups SET held_by = coalesce(held_by, %s),"
            " held_at = coalesce(held_at, clock_timestamp())"
            " WHERE backup_id = %s AND state = 'complete' RETURNING held_by",
            (actor, backup_id),
        ).fetchone()
    _refuse_unknown(row, backup_id)
    return actor if row is None else str(row[0])


def release(connection: psycopg.Connection, backup_id: int) -> str | None:
    """Let a held backup age again; one that is not held stays as it is.

    Returns:
        Who held it; None: nobody.

    Raises:
        Refused: there is no such backup.
    """
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        row = connection.execute(
            "SELECT held_by FROM tenant_migration.backups WHERE backup_id = %s AND state = 'complete'"
            " FOR NO KEY UPDATE",
            (backup_id,),
        ).fetchone()
        _refuse_unknown(row, backup_id)
        connection.execute(
            "UPDATE tenant_migration.backups SET held_by = NULL, held_at = NULL WHERE backup_id = %s",
            (backup_id,),
        )
    return None if row is None else row[0]


def rely_on(connection: psycopg.Connection, backup_id: int) -> bool:
    """Note that this process is about to start a migration that counts on the backup; False: it is gone."""
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        row = connection.execute(
            "SELECT FROM tenant_migration.backups WHERE backup_id = %s AND state = 'complete'"
            " FOR NO KEY UPDATE",
            (backup_id,),
        ).fetchone()
        if row is not None:
            connection.execute(
                "INSERT INTO tenant_migration.relied_on_backups (backup_id, host, process_id)"
                " VALUES (%s, %s, %s)",
                (backup_id, socket.gethostname(), os.getpid()),
            )
    return row is not None


def note_run(connection: psycopg.Connection, run_id: int) -> None:
    """Note that this run is what this process was about to start: what it counts on is kept until its end."""
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        connection.execute(
            "UPDATE tenant_migration.relied_on_backups SET run_id = %s"
            " WHERE run_id IS NULL AND host = %s AND process_id = %s",
            (run_id, socket.gethostname(), os.getpid()),
        )


def note_directory(connection: psycopg.Connection, backup_id: int, directory: str) -> None:
    """Note where the backup was exported to."""
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        connection.execute(
            "UPDATE tenant_migration.backups SET directory = %s WHERE backup_id = %s", (directory, backup_id)
        )


def _refuse_unknown(row: tuple[object, ...] | None, backup_id: int) -> None:
    if row is None:
        raise Refused(
            f"there is no backup {backup_id}; `tenant-migration backup --list` shows those that there are"
        )


def _number(row: tuple[int, ...] | None) -> int:
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return row[0]
