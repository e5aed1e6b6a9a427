"""From an exception to what a person reads: one message with the thing, the cause and the next step."""

from __future__ import annotations

import os
import traceback

import click
import psycopg
from psycopg import errors

from tenant_migration.cli.secrets import without_secrets
from tenant_migration.errors import TenantMigrationError, UsageError

INTERRUPTED = 130
"""As shells report a process that ended by Ctrl-C."""

TRACEBACK_VARIABLE = "TENANT_MIGRATION_TRACEBACK"

_KNOWN: tuple[tuple[tuple[type[psycopg.Error], ...], str, str], ...] = (
    (
        (errors.ReadOnlySqlTransaction,),
        "the database is read only",
        "connect to the primary, with a role that may write",
    ),
    (
        (errors.LockNotAvailable,),
        "another session held a lock for too long",
        "what was not committed is rolled back; run it again",
    ),
    (
        (errors.QueryCanceled,),
        "a statement was cancelled",
        "run it again; if it took too long, raise defaults.statement_timeout_ms",
    ),
    (
        (errors.DiskFull, errors.OutOfMemory, errors.TooManyConnections),
        "the server has no room",
        "free some and run it again",
    ),
    (
        (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedFunction, errors.UndefinedColumn),
        "the database is not as expected",
        "run `tenant-migration install` if it is ours, else look with `tenant-migration plan`",
    ),
)
"""What it is, how it is said, and what to do. The server's own words stand between."""


class Failure(click.ClickException):
    """Ends the command with `Error: ...` on stderr and exit 1. The message holds no password."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class InputFailure(Failure):
    """The input is wrong before any database is asked: exit 2."""

    exit_code = UsageError.exit_code


class ChecksFailed(Failure):
    """The checks ran, and something critical stands against the data."""


def failure_of(error: Exception) -> Failure:
    """Return what the command ends with, for what it raised."""
    if isinstance(error, TenantMigrationError):
        kind = InputFailure if error.exit_code == InputFailure.exit_code else Failure
        return kind(str(error))
    if isinstance(error, psycopg.Error) and (error.sqlstate or isinstance(error, psycopg.OperationalError)):
        return Failure(database_message(error))
    if isinstance(error, OSError):
        return Failure(f"the operating system refused: {error}")
    message = f"unexpected {type(error).__name__}: {error}"
    if os.environ.get(TRACEBACK_VARIABLE):
        return Failure(f"{message}\n{''.join(traceback.format_exception(error))}")
    return Failure(f"{message}\nThis is a defect; {TRACEBACK_VARIABLE}=1 shows where.")


def database_message(error: psycopg.Error) -> str:
    """Say what the database refused and what to do about it."""
    cause = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, errors.InsufficientPrivilege):
        return f"missing right: {cause}; {_way_to_the_right(cause)}"
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return (
            f"the connection to the database was lost: {cause}\n"
            "What was committed stays and is journaled; run the same command again to go on."
        )
    for kinds, sentence, next_step in _KNOWN:
        if isinstance(error, kinds):
            return f"{sentence}: {cause}; {next_step}"
    code = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    more = "".join(f"\n{line}" for line in (error.diag.message_detail, error.diag.message_hint) if line)
    return f"the database refused: {cause}{code}{more}"


def _way_to_the_right(cause: str) -> str:
    if "row-level security" in cause:
        return (
            "its policies would hide rows from this role: connect as the table's owner, "
            "or as a role with BYPASSRLS"
        )
    if "must be owner" in cause:
        return "connect as its owner or as an inheriting member of the owner's role"
    return "grant it to this role (GRANT ... TO ...), or connect as the owner of the tables"
