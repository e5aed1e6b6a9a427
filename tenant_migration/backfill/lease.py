"""The right to write to a table, for all tenants or for some: acquired, kept alive, given back.

Every batch renews the lease inside its own transaction (`batch_sql`), so a run that was stalled and overtaken
cannot write. `KeepAlive` does the same from a second connection while a single long statement runs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID, uuid4

import psycopg

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.stop import refuse_when_stopped
from tenant_migration.database.connection import transaction
from tenant_migration.errors import LeaseHeld, LeaseLost, RunStopped, TenantMigrationError

_POLL_S = 0.5
_SEPARATE_LEASES_MOST = 50
"""Above this many selected tenants one lease on the whole table costs less and excludes hardly more."""


@dataclass(frozen=True)
class Lease:
    """Held leases: one for the whole table, or one for each selected tenant."""

    tokens: tuple[UUID, ...]
    ttl_s: float

    @property
    def ttl_text(self) -> str:
        """The time to live as an interval."""
        return f"{self.ttl_s} seconds"


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
    separately = tenant_numbers is not None and len(tenant_numbers) <= _SEPARATE_LEASES_MOST
    scopes: Sequence[int | None] = sorted(tenant_numbers or ()) if separately else [None]
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
        return "another run that is acquiring it at this moment"
    return Lease(tokens, ttl_s)


class _ConflictError(Exception):
    """Somebody else holds one of the leases: rolls the transaction back."""


def renew(connection: psycopg.Connection, lease: Lease) -> bool:
    """Renew the leases; False when one of them is lost."""
    row = connection.execute(
        "WITH renewed AS (UPDATE tenant_migration.leases SET heartbeat_at = clock_timestamp(),"
        " expires_at = clock_timestamp() + %s::interval"
        " WHERE token = ANY (%s::uuid[]) AND expires_at > clock_timestamp() RETURNING token)"
        " SELECT count(*) FROM renewed",
        (lease.ttl_text, list(lease.tokens)),
    ).fetchone()
    return row is not None and row[0] == len(lease.tokens)


def release(connection: psycopg.Connection, lease: Lease) -> None:
    """Give the leases back. Twice does no harm."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(
            "DELETE FROM tenant_migration.leases WHERE token = ANY (%s::uuid[])", (list(lease.tokens),)
        )


class KeepAlive:
    """Keeps the lease alive during one long statement, and ends the statement when it must stop.

    A second connection renews the lease every third of its time to live and looks every half second whether
    the run was cancelled. When it was, or when the lease is lost, it cancels the statement on the server and
    the body's error is replaced by the reason.
    """

    def __init__(
        self, session: Session, lease: Lease, *, table_name: str, run_id: int, table_id: int
    ) -> None:
        self._session = session
        self._lease = lease
        self._table_name = table_name
        self._run_id = run_id
        self._table_id = table_id
        self._done = threading.Event()
        self._reason: TenantMigrationError | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> KeepAlive:
        connection = self._session.open_another()
        if not renew(connection, self._lease):
            connection.close()
            raise LeaseLost(f"{self._table_name}: the lease was taken over before a long statement began")
        self._thread = threading.Thread(
            target=self._watch, args=(connection,), name="lease heartbeat", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=15)
        if self._reason is not None and (error is None or isinstance(error, psycopg.errors.QueryCanceled)):
            raise self._reason from error

    def _watch(self, connection: psycopg.Connection) -> None:
        with connection:
            waited = 0.0
            while not self._done.wait(_POLL_S):
                waited += _POLL_S
                self._reason = self._stop_reason(connection, renews=waited >= self._lease.ttl_s / 3)
                if self._reason is not None:
                    self._cancel()
                    return
                if waited >= self._lease.ttl_s / 3:
                    waited = 0.0

    def _stop_reason(self, connection: psycopg.Connection, *, renews: bool) -> TenantMigrationError | None:
        try:
            refuse_when_stopped(
                connection, table_name=self._table_name, table_id=self._table_id, run_id=self._run_id
            )
            if renews and not renew(connection, self._lease):
                return LeaseLost(f"{self._table_name}: the lease was taken over during a long statement")
        except RunStopped as stopped:
            return stopped
        except psycopg.Error as error:
            # We cannot tell whether the lease is still ours: stop rather than guess.
            return LeaseLost(
                f"{self._table_name}: the lease could not be renewed during a long statement: {error}"
            )
        return None

    def _cancel(self) -> None:
        while not self._done.is_set():  # the statement may just be starting: a cancel before it hits nothing
            self._session.connection.cancel_safe(timeout=5)
            self._done.wait(_POLL_S)
