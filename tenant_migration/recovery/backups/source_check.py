"""Takes the checksum of a large table while it is copied: on a second connection, in the same snapshot.

One scan after the other would take a third longer. Small tables are checked on the first connection; so are
large ones where the server gives no further one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.database.connection import CANCEL_TIMEOUT_S, open_another, transaction
from tenant_migration.errors import DatabaseUnavailable
from tenant_migration.recovery.backups.columns import pin_text_forms

_log = logging.getLogger(__name__)

LARGE_BYTES = 32 * 1024 * 1024
"""From here on a second connection costs less than it saves."""
_SIGN_OF_LIFE_S = 10.0
"""Far below the limit after which the server ends a transaction whose client hangs."""


class SourceCheck:
    """A second reader of the snapshot of `connection`'s transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._snapshot: str | None = None
        self._reader: psycopg.Connection | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="source checksum")

    def start(self, query: sql.Composed, parameters: Mapping[str, Any]) -> Future[tuple[int, int]] | None:
        """Start to read rows and checksum; None: there is no further connection."""
        try:
            self._reader = self._reader or open_another(self._connection)
        except DatabaseUnavailable as error:
            _log.info("the checksum is taken on the same connection: %s", error)
            return None
        if self._snapshot is None:
            row = self._connection.execute("SELECT pg_export_snapshot()").fetchone()
            self._snapshot = row[0] if row is not None else None
        return self._executor.submit(self._read, self._reader, query, parameters)

    def result(self, started: Future[tuple[int, int]]) -> tuple[int, int]:
        """Return what was started; meanwhile the first connection's transaction is kept alive."""
        while True:
            try:
                return started.result(timeout=_SIGN_OF_LIFE_S)
            except NotYetError:
                if started.done():  # a TimeoutError of its own
                    raise
                self._connection.execute("SELECT")

    def _read(
        self, reader: psycopg.Connection, query: sql.Composed, parameters: Mapping[str, Any]
    ) -> tuple[int, int]:
        with transaction(
            reader,
            read_only=True,
            statement_timeout_ms=0,
            isolation="repeatable read",
            snapshot=self._snapshot,
        ):
            pin_text_forms(reader)
            # It has the time of the copy: more processes would only take it from the application.
            reader.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            row = reader.execute(query, parameters).fetchone()
        if row is None:
            raise RuntimeError("an aggregate gave no row")
        return int(row[0]), int(row[1])

    def __enter__(self) -> SourceCheck:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None and kind is not None:
            try:
                self._reader.cancel_safe(timeout=CANCEL_TIMEOUT_S)
            except psycopg.Error as problem:
                _log.warning("a checksum could not be cancelled: %s", problem)
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._reader is not None:
            self._reader.close()
