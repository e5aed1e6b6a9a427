"""Lets a statement fail without taking the snapshot with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tenant_migration.errors import DatabaseUnavailable
from tenant_migration.integrity.facts import Connection


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo what failed inside, so that the transaction goes on; the error is raised.

    An interruption is no error of ours: it ends the whole transaction, with the statement that runs.

    Raises:
        DatabaseUnavailable: the connection was lost; nothing can go on.
    """
    try:
        connection.execute("SAVEPOINT one_check")
        yield
        connection.execute("RELEASE SAVEPOINT one_check")
    except psycopg.Error as error:
        if connection.closed:
            raise DatabaseUnavailable(
                f"the connection was lost while checks were running: {error}"
            ) from error
        connection.execute("ROLLBACK TO SAVEPOINT one_check; RELEASE SAVEPOINT one_check")
        raise
