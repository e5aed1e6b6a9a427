"""One moment of the database, for everything that is read together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tenant_migration.database.connection import transaction

_LOCK_TIMEOUT_MS = 5_000  # sizes of files are read under ACCESS SHARE: DDL in progress makes us wait
_STATEMENT_TIMEOUT_MS = 60_000


@contextmanager
def snapshot(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a REPEATABLE READ READ ONLY transaction, with `pg_catalog` alone on the search path."""
    with transaction(
        connection,
        lock_timeout_ms=_LOCK_TIMEOUT_MS,
        statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
        read_only=True,
        isolation="repeatable read",
    ):
        yield
