"""The right to write to a table, for all tenants or for some: acquired, kept alive, given back.

Every batch looks inside its own transaction whether the lease is ours and locks it against a takeover
(`batch_sql`), so a run that was stalled and overtaken cannot write. `KeepAlive` renews it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID, uuid4

import psycopg
from psycopg import pq

from tenant_migration.backfill import long_statements
from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.stop import JOURNALED, refuse_when_stopped
from tenant_migration.database.connection import CANCEL_TIMEOUT_S, transaction
from tenant_migration.errors import (
    DatabaseUnavailable,
    LeaseHeld,
    LeaseLost,
    RunStopped,
    TenantMigrationError,
)

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_SEPARATE_LEASES_MOST = 50
"""Above this many selected tenants one lease on the whole table costs less and excludes hardly more."""


@dataclass(frozen=True)
class Lease:
    """Held leases: one for the whole table, or one for each selected tenant."""

    tokens: tuple[UUID, ...]
    ttl_s: float
    table_id: int
    scopes: tuple[int | None, ...]
    """Of each token the tenant's number; None: the whole table."""
    run_id: int
    holder: str


def acquire(
    session: Session,
    *,
    table_name: str,
    table_id: int,
    tenant_numbers: Sequence[int] | None,
    run_id: int,
    holder: str,
    ttl_s: float,
    wait_s: float,
    clock: Clock,
) -> Lease:
    """Take the leases, waiting for another holder at most `wait_s` seconds.

    Raises:
        LeaseHeld: another run holds the table, or one of the tenants, after the wait; names it.
    """
    scopes: Sequence[int | None] = [None]
    if tenant_numbers is not None and leases_separately(tenant_numbers):
        scopes = sorted(tenant_numbers)
    deadline = clock.monotonic() + wait_s
    while True:
        conflicting = _try(session.connection, table_id, scopes, run_id, holder, ttl_s)
        if isinstance(conflicting, Lease):
            return conflicting
        left = deadline - clock.monotonic()
        if left <= 0:
            raise LeaseHeld(
                f"table {table_name} is being worked on by {conflicting}; waited {wait_s:g} s. "
                "Wait for it to end, or cancel it; a run that died loses its lease by itself "
                f"after {ttl_s:g} s without a sign of life"
            )
        clock.sleep(min(_POLL_S, left))


def leases_separately(tenants: Sequence[object]) -> bool:
    """Say whether a run over these tenants takes a lease for each, and not one on the whole table."""
    return len(tenants) <= _SEPARATE_LEASES_MOST


def _try(
    connection: psycopg.Connection,
    table_id: int,
    scopes: Sequence[int | None],
    run_id: int,
    holder: str,
    ttl_s: float,
) -> Lease | str:
    """Take all leases in one transaction, or none; return them, or who is in the way."""
    tokens = tuple(uuid4() for _ in scopes)
    try:
        with transaction(connection):
            for token, scope in zip(tokens, scopes, strict=True):
                row = connection.execute(
                    "SELECT acquired, conflicting_holder"
                    " FROM tenant_migration.acquire_lease(%s, %s, %s, %s, %s, %s)",
                    (token, table_id, scope, run_id, holder, f"{ttl_s} seconds"),
                ).fetchone()
                if row is None or not row[0]:
                    raise _ConflictError("an unknown run" if row is None else row[1])
    except _ConflictError as conflict:
        return str(conflict)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return "somebody who is acquiring it or changing mappings at this moment"
    return Lease(tokens, ttl_s, table_id, tuple(scopes), run_id, holder)


class _ConflictError(Exception):
    """Somebody else holds one of the leases: rolls the transaction back."""


def renew(connection: psycopg.Connection, lease: Lease) -> bool:
    """Renew the leases; False when one of them is lost. Never waits: whoever has a row locked takes it over.

    Or renews it himself; so it is the valid ones that count.
    """
    row = connection.execute(
        "WITH ours AS (SELECT token FROM tenant_migration.leases WHERE token = ANY (%s::uuid[])"
        " AND expires_at > clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED),"
        " renewed AS (UPDATE tenant_migration.leases AS l SET heartbeat_at = clock_timestamp(),"
        " expires_at = clock_timestamp() + %s::interval FROM ours WHERE l.token = ours.token)"
        " SELECT count(*) FROM tenant_migration.leases WHERE token = ANY (%s::uuid[])"
        " AND expires_at > clock_timestamp()",
        (list(lease.tokens), f"{lease.ttl_s} seconds", list(lease.tokens)),
    ).fetchone()
    return row is not None and row[0] == len(lease.tokens)


_OURS_STILL = """
SELECT l.token, l.backend_pid, l.backend_start FROM tenant_migration.leases AS l
WHERE l.token = ANY (%s::uuid[])
  AND EXISTS (SELECT FROM tenant_migration.runs AS r WHERE r.run_id = l.run_id AND r.finished_at IS NULL)
FOR NO KEY UPDATE"""

_HOLDER_AS_BEFORE = """
UPDATE tenant_migration.leases SET backend_pid = %s, backend_start = %s WHERE token = %s"""


def retake(connection: psycopg.Connection, lease: Lease) -> bool:
    """Take leases again that expired while nobody could renew them, as after an outage of the server.

    Whoever takes a lease that expired deletes it first, and so does a stop: as long as it is there, nobody
    else worked on the table, and this run may go on as if it had never lost it.

    Returns:
        False: one is gone, or the run was closed meanwhile.

    Raises:
        psycopg.Error: of SQLSTATE TM002 when the mapping changed since the run started.
    """
    with transaction(connection):
        found = connection.execute(_OURS_STILL, (list(lease.tokens),)).fetchall()
        if len(found) < len(lease.tokens):
            return False
        for token, scope in zip(lease.tokens, lease.scopes, strict=True):
            connection.execute(
                "SELECT acquired FROM tenant_migration.acquire_lease(%s, %s, %s, %s, %s, %s)",
                (token, lease.table_id, scope, lease.run_id, lease.holder, f"{lease.ttl_s} seconds"),
            )
        with connection.cursor() as cursor:  # who asks may be the heartbeat, and not who works
            cursor.executemany(_HOLDER_AS_BEFORE, [(pid, start, token) for token, pid, start in found])
    return True


def release(connection: psycopg.Connection, lease: Lease) -> None:
    """Give the leases back. Twice does no harm."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(
            "DELETE FROM tenant_migration.leases WHERE token = ANY (%s::uuid[])", (list(lease.tokens),)
        )


class KeepAlive:
    """Renews the lease while its table is worked on, whatever that waits for: a scan, a lock, the caller.

    A batch cannot: one that fails would take its renewal back with it. From a second connection, which is
    opened only when it is needed, every third of the time to live.

    Args:
        session: whose connection runs the statements.
        lease: None for work that needs none (a backup only reads): then it only watches long statements.
        table_name: for messages.
        run_id: whose work it is.
        table_id: of the managed table; None: of several.
        heeds_switch: False for the rollback of an emergency stop, which works while the switch is set.
        what_stays: of the work when it is stopped, for the message.
    """

    def __init__(
        self,
        session: Session,
        lease: Lease | None,
        *,
        table_name: str,
        run_id: int,
        table_id: int | None,
        heeds_switch: bool = True,
        what_stays: str = JOURNALED,
    ) -> None:
        self._session = session
        self._lease = lease
        self._table_name = table_name
        self._run_id = run_id
        self._table_id = table_id
        self._heeds_switch = heeds_switch
        self._what_stays = what_stays
        self._renewed_at = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lease heartbeat", daemon=True)
        self._guard = threading.Lock()
        self._busy: psycopg.Connection | None = None
        """Runs a long statement. Changed under the guard only, so that a cancel hits nothing else."""
        self._reason: TenantMigrationError | None = None
        """Why the long statement was cancelled."""

    def __enter__(self) -> KeepAlive:
        self._session.on_reconnect = self._note_holder
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=15)
        self._session.on_reconnect = None

    def renew_when_due(self, connection: psycopg.Connection) -> None:
        """Renew when a third of the time to live has passed.

        Raises:
            LeaseLost: it was taken over, or away.
        """
        if self._lease is None or not self._is_due():
            return
        if not renew(connection, self._lease) and not retake(connection, self._lease):
            raise self.lost()
        self._renewed_at = time.monotonic()

    def lost(self, cause: str = "was taken over, or taken away") -> LeaseLost:
        """Return the error that says so."""
        return LeaseLost(
            f"{self._table_name}: the lease of run {self._run_id} {cause}; nothing more was written. "
            "Run again when nobody else works on the table"
        )

    def _is_due(self) -> bool:
        return self._lease is not None and time.monotonic() - self._renewed_at >= self._lease.ttl_s / 3

    def _note_holder(self, connection: psycopg.Connection) -> None:
        """Go on with a new connection: only if the old one was not ended to stop this run.

        Raises:
            RunStopped, LeaseLost: it was.
        """
        self._refuse_when_stopped(connection)
        if self._lease is None or long_statements.note_holder(connection, self._lease.tokens):
            return
        if not retake(connection, self._lease):
            raise self.lost()
        self._renewed_at = time.monotonic()
        long_statements.note_holder(connection, self._lease.tokens)

    @contextmanager
    def long_statement(self, what: str = "a scan") -> Iterator[None]:
        """End the statement of the body on the server when the run is to stop or the lease is lost.

        It is registered first and the stop is looked at afterwards: whoever asks for a stop meanwhile finds
        the one or is seen by the other.

        Args:
            what: the statement in words, for people. Outside of a transaction.

        Raises:
            RunStopped, LeaseLost: in place of the error of the cancelled statement.
        """
        connection = self._session.connection
        self.renew_when_due(connection)
        backend = long_statements.register(
            connection,
            run_id=self._run_id,
            table_id=self._table_id,
            statement=f"{what} of {self._table_name}",
        )
        try:
            self._refuse_when_stopped(connection)
            with self._watched(connection):
                yield
        finally:
            if backend is not None:
                self._forget(backend)

    @contextmanager
    def _watched(self, connection: psycopg.Connection) -> Iterator[None]:
        with self._guard:
            self._busy, self._reason = connection, None
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            if self._reason is not None:
                raise self._reason from error
            raise
        finally:
            with self._guard:
                self._busy = None
        if self._reason is not None:
            raise self._reason

    def _watch(self) -> None:
        connection: psycopg.Connection | None = None
        while not self._done.wait(_POLL_S):
            if self._busy is None and not self._is_due():
                continue
            try:
                connection = connection or self._session.open_another()
                self._look(connection)
            except (RunStopped, LeaseLost) as reason:
                self._cancel(reason)
            except (psycopg.Error, DatabaseUnavailable) as error:
                if connection is not None:
                    connection.close()
                connection = None
                if self._lease and time.monotonic() - self._renewed_at >= self._lease.ttl_s:
                    self._cancel(self.lost(f"could not be renewed for {self._lease.ttl_s:g} s ({error})"))
        if connection is not None:
            connection.close()

    def _look(self, connection: psycopg.Connection) -> None:
        if self._busy is not None:
            self._refuse_when_stopped(connection)
        self.renew_when_due(connection)

    def _refuse_when_stopped(self, connection: psycopg.Connection) -> None:
        refuse_when_stopped(
            connection,
            table_name=self._table_name,
            table_id=self._table_id,
            run_id=self._run_id,
            heeds_switch=self._heeds_switch,
            what_stays=self._what_stays,
        )

    def _forget(self, backend: long_statements.Backend) -> None:
        """Take the registration back; one that stays names a server process that is gone."""
        connection = self._session.connection
        if self._session.lost or connection.info.transaction_status != pq.TransactionStatus.IDLE:
            return
        try:
            long_statements.forget(connection, backend)
        except psycopg.Error as error:
            _log.warning("%s: the end of a long statement was not noted: %s", self._table_name, error)

    def _cancel(self, reason: TenantMigrationError) -> None:
        """Cancel the long statement, if there is one; again at the next look, if it was just starting."""
        with self._guard:
            if self._busy is None:
                return
            self._reason = reason
            try:
                self._busy.cancel_safe(timeout=CANCEL_TIMEOUT_S)
            except psycopg.Error as error:
                _log.warning("%s: a statement could not be cancelled: %s", self._table_name, error)
