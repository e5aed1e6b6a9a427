"""Tries a step again when the database was busy or the connection was lost; never for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.session import Session
from tenant_migration.errors import OperationFailed, Reaction, reaction_to

T = TypeVar("T")

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True)
class Retry:
    """How often a step is tried, and on which connection."""

    session: Session
    clock: Clock
    attempts: int

    def run(self, what: str, body: Callable[[psycopg.Connection], T]) -> T:
        """Do a step that may be done twice without harm.

        Args:
            what: names the step and the table, for the error.
            body: gets the connection in use; a transaction of its own if it writes.

        Raises:
            OperationFailed: every attempt met a lock or lost the connection; names who is in the way.
            psycopg.Error: an error that another attempt would not change.
        """
        attempt = 1
        while True:
            try:
                return body(self.session.connection)
            except psycopg.Error as error:
                if reaction_to(error.sqlstate, self.session.lost) is not Reaction.RETRY:
                    raise
                if attempt >= self.attempts:
                    raise OperationFailed(
                        f"{what}: gave up after {attempt} attempts ({message_of(error)})"
                        f"{self._who_is_in_the_way()}. Run again when the table is less busy"
                    ) from error
            if self.session.lost:
                self.session.reconnect(self.attempts)
            else:
                self.clock.back_off(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)
            attempt += 1

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


def message_of(error: psycopg.Error) -> str:
    """Return what the server said, on one line, without the row's values (which `DETAIL` holds)."""
    return " ".join((error.diag.message_primary or str(error)).split())
