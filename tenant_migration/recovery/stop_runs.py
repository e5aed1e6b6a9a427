"""Stops runs that work in the database: asks them, then ends on the server what does not end by itself.

    1. Their state becomes `cancelled`: each batch reads it, and ends its run (`backfill.stop`).
    2. After a second, what they still have under way on the server is cancelled (`pg_cancel_backend`);
    3. half a second later their server processes are ended (`pg_terminate_backend`): that reaches what a
       frozen or unreachable client holds.
    4. Their leases are taken away, so that a client that comes back cannot write.

A server process is ended only when it is registered with a lease or a long statement, still is the one that
was registered (pid and start), and bears our application name at this moment: a pooler's process that serves
the application by now is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.retry import message_of
from tenant_migration.database.connection import transaction
from tenant_migration.recovery import stop_runs_sql

CANCEL_AFTER_S = 1.0
"""A batch takes 0.1 s, and clients look at the flags every 0.5 s during longer statements."""
TERMINATE_AFTER_S = 1.5
GIVE_UP_AFTER_S = 10.0
"""A server process that does not end by then hangs in the operating system."""
_POLL_S = 0.05
_LEASE_LOCK_TIMEOUT_MS = 1_000
_LEASE_ATTEMPTS = 3
_TABLES_SHOWN = 3


@dataclass(frozen=True)
class WorkingRun:
    """A run that has not ended; its process may be dead."""

    run_id: int
    kind: str
    actor: str
    host: str
    process_id: int
    tables: tuple[str, ...] | None
    """None: all."""
    holds_lease: bool
    """Whether it may write and gave a sign of life lately; without, it reads or is dead."""

    def __str__(self) -> str:
        """Name it for people."""
        if self.tables is None:
            tables = "all tables"
        else:
            many = len(self.tables) > _TABLES_SHOWN
            tables = f"{len(self.tables)} tables" if many else ", ".join(self.tables)
        return (
            f"run {self.run_id} ({self.kind} of {tables}; {self.actor} on {self.host}, "
            f"process {self.process_id})"
        )


@dataclass
class Stopped:
    """How runs were stopped."""

    runs: tuple[WorkingRun, ...]
    seconds: float = 0.0
    """Until nothing of them was under way on the server any more."""
    cancelled: list[str] = field(default_factory=list)
    """Statements that were cancelled on the server, as sentences."""
    terminated: list[str] = field(default_factory=list)
    """Server processes that were ended, as sentences."""
    leases_taken: list[str] = field(default_factory=list)
    """Holders whose lease was taken away, since they did not give it back."""
    problems: list[str] = field(default_factory=list)
    """What could not be done, as sentences; empty: everything stopped."""


def working_runs(connection: psycopg.Connection, *, but: Sequence[int] = ()) -> tuple[WorkingRun, ...]:
    """Return the runs that have not ended, without some."""
    with transaction(connection, read_only=True, row_security=True):
        rows = connection.execute(stop_runs_sql.WORKING_RUNS, (list(but),)).fetchall()
    return tuple(
        WorkingRun(
            run_id, kind, actor, host, process_id, None if tables is None else tuple(tables), holds_lease
        )
        for run_id, kind, actor, host, process_id, tables, holds_lease in rows
    )


def stop_runs(
    connection: psycopg.Connection,
    runs: Sequence[WorkingRun],
    *,
    actor: str,
    reason: str,
    table_ids: Sequence[int] | None = None,
    clock: Clock | None = None,
) -> Stopped:
    """Stop runs, or some tables of them; what cannot be done is a problem, and the next thing is done.

    Args:
        connection: outside of a transaction.
        runs: as `working_runs` found them.
        actor: who wants it.
        reason: why, as a sentence.
        table_ids: these tables only; the runs go on with others.
        clock: replaced by tests.

    Returns:
        How they stopped.
    """
    stopped = Stopped(tuple(runs))
    if runs:
        _Stopping(connection, stopped, actor, reason, table_ids, clock or Clock()).perform()
    return stopped


@dataclass(frozen=True)
class _Held:
    """What a run has under way: a lease, or a long statement."""

    run_id: int
    pid: int | None
    backend_start: datetime | None
    what: str
    is_lease: bool
    is_hidden: bool
    is_alive: bool
    is_active: bool


class _Stopping:
    def __init__(
        self,
        connection: psycopg.Connection,
        stopped: Stopped,
        actor: str,
        reason: str,
        table_ids: Sequence[int] | None,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._stopped = stopped
        self._clock = clock
        self._whole_runs = table_ids is None
        self._parameters: dict[str, object] = {
            "runs": [run.run_id for run in stopped.runs],
            "tables": None if table_ids is None else list(table_ids),
            "actor": actor,
            "reason": reason,
        }
        self._signalled: set[tuple[str, int | None]] = set()

    def perform(self) -> None:
        """Take the steps of the module's docstring."""
        started = self._clock.monotonic()
        with self._noted("marking the runs as cancelled"), suppress(psycopg.errors.LockNotAvailable):
            self._mark()
        with self._noted("ending what is under way on the server"):
            self._end_on_server(started)
        self._stopped.seconds = self._clock.monotonic() - started
        with self._noted("marking the runs as cancelled"):
            self._mark()  # those that a client which is ended by now had locked
            self._check_marks()
        with self._noted("taking the leases away"):
            self._take_leases()
        with self._noted("closing the runs"):
            if self._whole_runs:
                self._execute(stop_runs_sql.CLOSE_RUNS)
            with suppress(psycopg.errors.InsufficientPrivilege):  # stale rows harm nobody
                self._execute(stop_runs_sql.FORGET_STATEMENTS)

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self._stopped.problems.append(f"{what}: {message_of(error)}")

    def _execute(self, statement: str) -> None:
        with transaction(self._connection, row_security=True):
            self._connection.execute(statement, self._parameters)

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        with transaction(self._connection, read_only=True, row_security=True):
            return self._connection.execute(statement, self._parameters).fetchall()

    def _mark(self) -> None:
        self._execute(stop_runs_sql.CANCEL_RUNS if self._whole_runs else stop_runs_sql.CANCEL_TABLES)

    def _check_marks(self) -> None:
        if not self._whole_runs:
            return
        for (run_id,) in self._read(stop_runs_sql.STILL_WORKING):
            self._stopped.problems.append(
                f"run {run_id} could not be marked as cancelled: somebody holds its row in "
                "tenant_migration.runs"
            )

    def _under_way(self) -> list[_Held]:
        return [_Held(*row) for row in self._read(stop_runs_sql.UNDER_WAY)]

    def _end_on_server(self, started: float) -> None:
        """Wait, cancel, end; until no server process of theirs is left."""
        while True:
            held = [thing for thing in self._under_way() if thing.is_alive or thing.is_hidden]
            elapsed = self._clock.monotonic() - started
            if not held:
                return
            if elapsed >= GIVE_UP_AFTER_S or (
                elapsed > TERMINATE_AFTER_S and all(thing.is_hidden for thing in held)
            ):
                self._stopped.problems += sorted({self._why_it_stays(thing) for thing in held})
                return
            if elapsed >= TERMINATE_AFTER_S:
                self._signal("pg_terminate_backend", held, self._stopped.terminated, "was ended")
            elif elapsed >= CANCEL_AFTER_S:
                active = [thing for thing in held if thing.is_active]
                self._signal("pg_cancel_backend", active, self._stopped.cancelled, "was told to cancel")
            self._clock.sleep(_POLL_S)

    def _signal(self, function: str, held: Sequence[_Held], notes: list[str], verb: str) -> None:
        """Signal each server process once: more would hit what its client does to end properly."""
        for thing in sorted(held, key=lambda thing: thing.is_lease):  # the statement says more than the lease
            if (function, thing.pid) in self._signalled or not thing.is_alive:
                continue
            self._signalled.add((function, thing.pid))
            with self._noted(f"{thing.what}, server process {thing.pid}"):
                row = self._connection.execute(
                    stop_runs_sql.end_process(function), (thing.pid, thing.backend_start)
                ).fetchone()
                if row and row[0]:
                    notes.append(f"{thing.what}: server process {thing.pid} {verb}")

    def _why_it_stays(self, thing: _Held) -> str:
        if thing.is_hidden:
            return (
                f"{thing.what}: server process {thing.pid} belongs to another role, which "
                f"{self._connection.info.user} may not end; its lease decides that it writes no more"
            )
        return f"{thing.what}: server process {thing.pid} does not end; an administrator has to look at it"

    def _take_leases(self) -> None:
        """Take away the leases; a batch that is under way is waited for."""
        for attempt in range(1, _LEASE_ATTEMPTS + 1):
            try:
                with transaction(self._connection, lock_timeout_ms=_LEASE_LOCK_TIMEOUT_MS, row_security=True):
                    rows = self._connection.execute(stop_runs_sql.TAKE_LEASES, self._parameters).fetchall()
                self._stopped.leases_taken += [str(holder) for (holder,) in rows]
                return
            except psycopg.errors.LockNotAvailable:
                if attempt == _LEASE_ATTEMPTS:
                    raise
            except psycopg.errors.InsufficientPrivilege:
                if self._read(stop_runs_sql.LEASES_LEFT):
                    raise
                return
