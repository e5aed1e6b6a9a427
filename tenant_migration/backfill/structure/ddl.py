"""Runs DDL on a live table: never waits long for a lock, tries again with jitter, gives up with the reason.

An `ALTER TABLE` that waits for its lock makes every `SELECT` behind it wait too (H35), so the wait is short
and the total is bounded; there is no last attempt without a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.session import Session
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed, Reaction, reaction_to

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True)
class Ddl:
    """How DDL is tried."""

    session: Session
    clock: Clock
    lock_timeout_ms: int
    attempts: int

    def run(self, what: str, body: Callable[[psycopg.Connection], None]) -> None:
        """Run the body in a transaction with a short lock timeout, as often as allowed.

        Args:
            what: names the object, for the error.
            body: executes the statements; may be called several times.

        Raises:
            OperationFailed: every attempt met a lock; names those who hold one.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                with transaction(
                    self.session.connection, lock_timeout_ms=self.lock_timeout_ms, statement_timeout_ms=60_000
                ):
                    body(self.session.connection)
                return
            except psycopg.Error as error:
                if reaction_to(error.sqlstate, self.session.lost) is not Reaction.RETRY:
                    raise
                if attempt == self.attempts:
                    raise OperationFailed(
                        f"{what}: gave up after {attempt} attempts of {self.lock_timeout_ms} ms each "
                        f"({_one_line(error)}){self._who_is_in_the_way()}. Run again when the table is less busy"
                    ) from error
            if self.session.lost:
                self.session.reconnect(self.attempts)
            self.clock.back_off(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)

    def _who_is_in_the_way(self) -> str:
        if self.session.lost:
            return ""
        rows = self.session.connection.execute(
            "SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type),"
            " round(extract(epoch FROM clock_timestamp() - a.xact_start))"
            " FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.xact_start IS NOT NULL"
            " AND a.pid <> pg_backend_pid() ORDER BY a.xact_start LIMIT 3"
        ).fetchall()
        if not rows:
            return ""
        return "; oldest transactions: " + ", ".join(
            f"pid {pid} ({name}, {age} s)" for pid, name, age in rows
        )


def _one_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip()
