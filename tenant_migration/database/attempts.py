"""Writes down the operations that ended early: refused, failed or cancelled, and recorded by nobody else.

Belongs here: the frame around an operation. What it did when it succeeded, it records itself with its
counts, in the transaction that did it where there is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg

from tenant_migration.database import audit
from tenant_migration.database.connection import connect, usable
from tenant_migration.errors import (
    DatabaseUnavailable,
    NotInstalled,
    OperationFailed,
    RunStopped,
    TenantMigrationError,
)

_log = logging.getLogger(__name__)

_RECORDED = "_tenant_migration_recorded"
"""Attribute of an exception: the operations of which the audit log has that it ended them."""

_NO_LOG = (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)
"""Nothing is installed: there is no log yet to write into."""


@contextmanager
def attempt(
    connection: psycopg.Connection,
    operation: str,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Record that an operation ended early when the body raises, once, however many frames are around it.

    Args:
        connection: outside of a transaction; when it is lost, another one is opened for the record.
        operation: its name in the audit log.
        actor: who.
        tables: as they were asked for; None: all.
        tenants: as `tables`.
        detail: what else was asked for.
    """
    asked = _Asked(operation, actor, tables, tenants, detail)
    try:
        yield
    except BaseException as error:
        asked.record(error, lambda: usable(connection))
        raise


@contextmanager
def attempt_at(
    url: str,
    operation: str,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """As `attempt`, where the body has no connection that may write; one is opened for the record alone."""
    asked = _Asked(operation, actor, tables, tenants, detail)
    try:
        yield
    except BaseException as error:
        asked.record(error, lambda: connect(url, application_name="tenant_migration audit", pin_path=True))
        raise


def note_recorded(error: BaseException, operation: str) -> None:
    """Remember that the audit log has it of this operation: no frame further out records it again."""
    known: set[str] = getattr(error, _RECORDED, set())
    setattr(error, _RECORDED, known | {operation})


def is_recorded(error: BaseException, operation: str) -> bool:
    """Say whether the audit log has that this ended the operation; also for what it was made from."""
    found: BaseException | None = error
    while found is not None:
        if operation in getattr(found, _RECORDED, ()):
            return True
        found = found.__cause__
    return False


def outcome_of(error: BaseException) -> str:
    """Return the outcome that the audit log knows: `refused` when nothing was started."""
    if isinstance(error, RunStopped) or not isinstance(error, Exception):
        return "cancelled"
    if isinstance(error, TenantMigrationError) and not isinstance(
        error, (OperationFailed, DatabaseUnavailable)
    ):
        return "refused"
    return "failed"


def sentence(error: BaseException) -> str:
    """Return what an exception says on one line."""
    return " ".join(str(error).split()) or type(error).__name__


class _Asked:
    """An operation as it was asked for."""

    def __init__(
        self,
        operation: str,
        actor: str,
        tables: Sequence[str] | None,
        tenants: Sequence[str] | None,
        detail: Mapping[str, Any] | None,
    ) -> None:
        self._started = time.monotonic()
        self._operation = operation
        self._actor = actor
        self._tables = None if tables is None else list(tables)
        self._tenants = None if tenants is None else list(tenants)
        asked = {"tables": self._tables, "tenants": self._tenants, **(detail or {})}
        self._detail = {name: value for name, value in asked.items() if value is not None}

    def record(
        self, error: BaseException, open_connection: Callable[[], AbstractContextManager[psycopg.Connection]]
    ) -> None:
        """Write the record; that it cannot be written must not take the place of the error."""
        if is_recorded(error, self._operation) or isinstance(error, NotInstalled):
            return
        try:
            with open_connection() as connection:
                audit.record(
                    connection,
                    operation=self._operation,
                    actor=self._actor,
                    outcome=outcome_of(error),
                    table=_only(self._tables),
                    tenant_id=_only(self._tenants),
                    duration_ms=(time.monotonic() - self._started) * 1000,
                    detail={**self._detail, "error": sentence(error)},
                )
        except _NO_LOG:
            return
        except (psycopg.Error, TenantMigrationError) as another:
            _log.warning("that %s ended could not be recorded: %s", self._operation, another)
        else:
            note_recorded(error, self._operation)


def _only(names: Sequence[str] | None) -> str | None:
    return names[0] if names is not None and len(names) == 1 else None
