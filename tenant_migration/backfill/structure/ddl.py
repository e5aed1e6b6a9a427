"""Runs DDL on a live table: never waits long for a lock, tries again with jitter, gives up with the reason.

An `ALTER TABLE` that waits for its lock makes every `SELECT` behind it wait too (H35), so the wait is short
and the total is bounded; there is no last attempt without a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.retry import Retry
from tenant_migration.database.connection import transaction

_STATEMENT_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Ddl:
    """How DDL is tried."""

    retry: Retry
    lock_timeout_ms: int

    @property
    def connection(self) -> psycopg.Connection:
        """The connection in use."""
        return self.retry.session.connection

    def run(self, what: str, body: Callable[[psycopg.Connection], None]) -> None:
        """Run the body in a transaction with a short lock timeout, as often as allowed.

        Args:
            what: names the object, for the error.
            body: executes the statements; may be called several times, also after a commit whose answer was
            lost.

        Raises:
            OperationFailed: every attempt met a lock; names the oldest transactions.
        """

        def attempt(connection: psycopg.Connection) -> None:
            with transaction(
                connection, lock_timeout_ms=self.lock_timeout_ms, statement_timeout_ms=_STATEMENT_TIMEOUT_MS
            ):
                body(connection)

        self.retry.run(what, attempt)
