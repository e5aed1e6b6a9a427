"""The engine's connection, which it can make anew when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import psycopg

from tenant_migration.backfill.clock import Clock
from tenant_migration.database.connection import open_another
from tenant_migration.errors import DatabaseUnavailable

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0


class Session:
    """Holds the connection that the engine works with.

    It starts with the caller's. When that is lost, a new one to the same database takes its place and belongs
    to the session: `close()` closes only what the session itself opened.
    """

    def __init__(self, connection: psycopg.Connection, clock: Clock | None = None) -> None:
        self._given = connection
        self._clock = clock or Clock()
        self._current = connection
        self.on_reconnect: Callable[[psycopg.Connection], None] | None = None
        """Told of each new connection that takes a lost one's place."""

    @property
    def connection(self) -> psycopg.Connection:
        """The connection in use."""
        return self._current

    @property
    def lost(self) -> bool:
        """Whether the connection in use is unusable."""
        return self._current.closed or self._current.broken

    def reconnect(self, attempts: int) -> None:
        """Replace a lost connection.

        Raises:
            DatabaseUnavailable: the server could not be reached in `attempts` attempts.
        """
        for attempt in range(1, attempts + 1):
            self._clock.back_off(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)
            try:
                fresh = self._open_told()
            except (DatabaseUnavailable, psycopg.OperationalError):
                if attempt == attempts:
                    raise
                continue
            self._close_own()
            self._current = fresh
            return

    def _open_told(self) -> psycopg.Connection:
        fresh = self.open_another()
        try:
            if self.on_reconnect is not None:
                self.on_reconnect(fresh)
        except BaseException:
            fresh.close()
            raise
        return fresh

    def open_another(self) -> psycopg.Connection:
        """Open a further connection to the same database; the caller closes it."""
        return open_another(self._current)

    def close(self) -> None:
        """Close what the session opened; the caller's connection stays."""
        self._close_own()

    def _close_own(self) -> None:
        if self._current is not self._given:
            self._current.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
