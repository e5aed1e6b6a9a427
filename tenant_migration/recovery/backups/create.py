"""Makes a backup: one snapshot, one transaction, every copy read back before it counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.lease import KeepAlive
from tenant_migration.backfill.results import Progress, ProgressCallback
from tenant_migration.backfill.session import Session
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed, RunStopped
from tenant_migration.recovery.backups import copy_sql, manifest
from tenant_migration.recovery.backups.columns import (
    Source,
    naming_the_locked,
    pin_text_forms,
    read_source,
)
from tenant_migration.recovery.backups.manifest import Copied, Part, Registered
from tenant_migration.recovery.backups.source_check import LARGE_BYTES, SourceCheck
from tenant_migration.recovery.backups.space import size_of

_LOCK_TIMEOUT_MS = 5_000
_SHARED_ATTEMPTS = 5

_REWRITTEN = """
SELECT c.oid::regclass::text
FROM (SELECT relid::oid FROM pg_partition_tree(%(table)s::regclass)  -- nothing, of a table without partitions
      UNION SELECT %(table)s::regclass::oid) AS tree (oid)
JOIN pg_class AS c ON c.oid = tree.oid
WHERE c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) LIMIT 1"""


def copy_tables(
    connection: psycopg.Connection,
    registered: Registered,
    *,
    tenants: Sequence[str] | None,
    progress: ProgressCallback | None = None,
) -> None:
    """Copy what is registered; afterwards the backup is complete and verified.

    1. Of some tenants: the relations that take their rows, each in a transaction of its own, since several
       backups at a time may want the same.
    2. One transaction, whose snapshot every table is read in: lock the tables against being rewritten or
       dropped, then copy each, take the checksum of the source, read the copy back, and take all rights away
       but the owner's.
    3. The same transaction says that the backup is complete. Killed before its end, nothing of it is there.

    While it runs, cancel and emergency stop end it on the server.

    Raises:
        OperationFailed: a copy is not equal to its source, or a table was rewritten meanwhile.
        RunStopped: cancelled.
        psycopg.Error: whatever else the database refuses.
    """
    failpoints.reach(failpoints.BACKUP_REGISTERED)
    if tenants is not None:
        for part in registered.parts:
            _ensure_shared(connection, part)
    work = _Copying(connection, registered, tenants, progress)
    names = ", ".join(part.source.table.qualified_name for part in registered.parts)
    try:
        with (
            Session(connection) as session,
            KeepAlive(
                session,
                None,
                table_name=names,
                run_id=registered.run_id,
                table_id=None,
                what_stays="nothing of it is kept",
            ) as keep_alive,
            keep_alive.long_statement(f"backup {registered.backup_id}"),
            transaction(
                connection,
                lock_timeout_ms=_LOCK_TIMEOUT_MS,
                statement_timeout_ms=0,
                isolation="repeatable read",
            ),
        ):
            work.perform()
    except psycopg.errors.SerializationFailure as error:  # nobody else changes the rows that we update
        raise RunStopped(f"backup {registered.backup_id} was cancelled; nothing was kept of it") from error
    failpoints.reach(failpoints.BACKUP_COMPLETED)


def _ensure_shared(connection: psycopg.Connection, part: Part) -> None:
    """Create the relation that takes the rows, unless it is there; another backup may be about to."""
    for attempt in range(1, _SHARED_ATTEMPTS + 1):
        try:
            with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
                if not _exists(connection, part.relation):
                    for statement in copy_sql.create_shared(part.source, part.relation):
                        connection.execute(statement)
                    _make_ours_alone(connection, part.relation)
            failpoints.reach(failpoints.BACKUP_RELATION_CREATED)
            return
        except (
            psycopg.errors.DuplicateTable,
            psycopg.errors.DuplicateObject,
            psycopg.errors.UniqueViolation,
        ):
            if attempt == _SHARED_ATTEMPTS:
                raise
            time.sleep(0.05 * attempt)


def _exists(connection: psycopg.Connection, relation: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
        " AND relname = %s)",
        (relation,),
    ).fetchone()
    return bool(row and row[0])


def _make_ours_alone(connection: psycopg.Connection, relation: str) -> None:
    """Give the relation to the schema's owner and take away every right that default privileges gave."""
    name = sql.Identifier(copy_sql.SCHEMA, relation)
    row = connection.execute(
        "SELECT nspowner::regrole::text FROM pg_namespace"
        " WHERE nspname = 'tenant_migration' AND nspowner <> current_user::regrole"
    ).fetchone()
    if row is not None:
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(name, sql.SQL(row[0])))
    connection.execute("SELECT tenant_migration.make_private(%s::regclass)", (name.as_string(connection),))


def keys_of(connection: psycopg.Connection, source: Source, tenants: Sequence[str]) -> list[str]:
    """Return the tenants' keys as the table's type writes them; a tenant that it cannot hold has no rows."""
    rows = connection.execute(
        "SELECT found.key FROM unnest(%s::text[]) AS tenant (id),"
        " LATERAL (SELECT tenant_migration.canonical_key(tenant.id, %s)) AS found (key)"
        " WHERE found.key IS NOT NULL",
        (list(tenants), source.table.tenant_column.quoted_type),
    ).fetchall()
    return [row[0] for row in rows]


class _Copying:
    """The transaction of a backup."""

    def __init__(
        self,
        connection: psycopg.Connection,
        registered: Registered,
        tenants: Sequence[str] | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._connection = connection
        self._registered = registered
        self._tenants = None if tenants is None else list(tenants)
        self._progress = progress

    def perform(self) -> None:
        """Take steps 2 and 3 of `copy_tables`."""
        connection = self._connection
        manifest.lock_while_creating(connection, self._registered.backup_id)
        pin_text_forms(connection)
        lsn = str(self._one("SELECT pg_current_wal_lsn()::text"))
        for part in self._registered.parts:
            self._lock(part.source)
        copied = []
        with SourceCheck(connection) as beside:
            for part in self._registered.parts:
                copied.append(self._copy(part, beside))
                failpoints.reach(failpoints.BACKUP_TABLE_COPIED)
        manifest.complete(connection, self._registered, copied, lsn=lsn)
        failpoints.reach(failpoints.BACKUP_BEFORE_COMMIT)

    def _lock(self, source: Source) -> None:
        """Lock the table against being rewritten, and refuse when that happened after the snapshot.

        A table that ALTER TABLE rewrote, or TRUNCATE emptied, while we waited for the lock looks empty to an
        older snapshot: the backup would be empty, and equal to what it read.
        """
        table = sql.Identifier(source.table.schema_name, source.table.table_name)
        only = sql.SQL("" if source.table.partitioned else "ONLY ")
        with naming_the_locked(source.table):
            self._connection.execute(sql.SQL("LOCK TABLE {}{} IN ACCESS SHARE MODE").format(only, table))
        rewritten = self._connection.execute(
            _REWRITTEN, {"table": table.as_string(self._connection)}
        ).fetchone()
        if rewritten is not None:
            raise OperationFailed(
                f"{source.table.qualified_name}: {rewritten[0]} was rewritten or emptied when the backup "
                "began; nothing was kept of it. Start it again"
            )
        if read_source(self._connection, source.table, source.table_id).fingerprint != source.fingerprint:
            raise OperationFailed(
                f"{source.table.qualified_name}: its columns changed when the backup began; nothing was kept "
                "of it. Start it again"
            )

    def _copy(self, part: Part, beside: SourceCheck) -> Copied:
        """Copy one table, and compare what is there now with what was there."""
        started = time.monotonic()
        source, relation, some = part.source, part.relation, self._tenants is not None
        parameters = {
            "backup_id": self._registered.backup_id,
            "keys": keys_of(self._connection, source, self._tenants or ()),
        }
        source_check = copy_sql.source_check(source, some_tenants=some)
        is_large = not some and size_of(self._connection, source, None) >= LARGE_BYTES
        checking = beside.start(source_check, parameters) if is_large else None
        if some:
            rows = self._connection.execute(copy_sql.append_rows(source, relation), parameters).rowcount
        else:
            rows = self._connection.execute(copy_sql.create_copy(source, relation)).rowcount
            _make_ours_alone(self._connection, relation)
        read_back = copy_sql.copy_check(source, relation, some_tenants=some)
        found, copy_checksum = self._pair(read_back, parameters)
        expected, checksum = (
            beside.result(checking) if checking is not None else self._pair(source_check, parameters)
        )
        if (expected, checksum) != (found, copy_checksum) or rows != found:
            raise OperationFailed(
                f"{source.table.qualified_name}: the copy was read back with {found:,} rows and checksum "
                f"{copy_checksum}, the table has {expected:,} rows and checksum {checksum}; nothing was kept "
                f"of backup {self._registered.backup_id}. Look for damage (pg_amcheck), then start it again"
            )
        if self._progress is not None:
            elapsed_ms = (time.monotonic() - started) * 1000
            self._progress(Progress(source.table.qualified_name, "copied", found, found, found, elapsed_ms))
        return Copied(part, found, checksum, copy_checksum, self._last_batch(source))

    def _last_batch(self, source: Source) -> int | None:
        if not _exists(self._connection, f"journal_{source.table_id}"):
            return None
        return int(self._one(copy_sql.last_batch(source.table_id)))

    def _pair(self, query: sql.Composed, parameters: Mapping[str, Any]) -> tuple[int, int]:
        row = self._connection.execute(query, parameters).fetchone()
        if row is None:
            raise RuntimeError("an aggregate gave no row")
        return int(row[0]), int(row[1])

    def _one(self, query: str | sql.Composed) -> Any:
        row = self._connection.execute(query).fetchone()
        if row is None:
            raise RuntimeError("no row")
        return row[0]
