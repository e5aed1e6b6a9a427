"""Connections and transactions: every setting that keeps us from hurting a live database, in one place.

Belongs here: opening a connection, the frame of a transaction, what kind of server it is. A connection pooler
may drop connection options, so whatever a write depends on is set again inside `transaction()`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Literal
from weakref import WeakKeyDictionary

import psycopg
from psycopg import conninfo, pq, sql

from tenant_migration.errors import DatabaseUnavailable, UnsupportedServer, UsageError

OLDEST_SERVER = 150000
"""As `server_version_num`: security_invoker views and NULLS NOT DISTINCT begin with 15."""

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 5_000
"""Of statements outside `transaction()`: reads and single statements. Never a wait without a limit."""
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
"""After which the server ends a transaction whose client hangs: an open one keeps its locks."""
CANCEL_TIMEOUT_S = 5.0

SEARCH_PATH = "pg_catalog, pg_temp"
"""Of our transactions, and of our connections when they are pinned: nothing of the application's schemas, so
that no function or operator planted there is called by us. The application's triggers and CHECK functions
name their tables by the role's own path: `backfill.batch_sql` puts it back while rows are written."""

Isolation = Literal["read committed", "repeatable read", "serializable"]

_INSIDE_A_TRANSACTION = (
    pq.TransactionStatus.ACTIVE,
    pq.TransactionStatus.INTRANS,
    pq.TransactionStatus.INERROR,
)
_given_up: WeakKeyDictionary[psycopg.Connection, dict[str, Any]] = WeakKeyDictionary()
"""Where connections led that were closed because they could not be brought to rest."""
_role_paths: WeakKeyDictionary[psycopg.Connection, str] = WeakKeyDictionary()
"""The role's own search path, of connections whose path is pinned."""
_POOLER_REFUSALS = ("unsupported startup parameter", "client_connection_check_interval")


def connect(
    url: str, *, read_only: bool = False, application_name: str | None = None, pin_path: bool = False
) -> psycopg.Connection:
    """Open a connection to the database to migrate.

    Args:
        url: libpq URI or keywords.
        read_only: refuse every write on this connection.
        application_name: shown in `pg_stat_activity`; default `tenant_migration`.
        pin_path: let statements outside of transactions have our search path too; every entry point does.
            Not behind a transaction pooler, where the setting would stay for the next client.

    Returns:
        A connection in autocommit mode; writes go through `transaction()`.

    Raises:
        UsageError: the URI cannot be read; the message does not repeat it, it may hold a password.
        DatabaseUnavailable: the server cannot be reached or refuses the role.
    """
    parameters = _parse(url)
    parameters.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    parameters.setdefault("client_encoding", "utf8")  # names in any database, SQL_ASCII ones included
    parameters["application_name"] = application_name or "tenant_migration"
    given_options = str(parameters.pop("options", "") or "")
    options = " ".join(filter(None, (given_options, _options(read_only))))
    try:
        connection = _open(parameters, options)
    except psycopg.OperationalError as error:
        if not any(refusal in str(error) for refusal in _POOLER_REFUSALS):
            raise _unavailable(parameters, error) from None
        try:
            connection = _open(parameters, given_options)
        except psycopg.OperationalError as again:
            raise _unavailable(parameters, again) from None
    connection.read_only = (
        True if read_only else None
    )  # transaction() asks: a pooler may have dropped the option
    if pin_path:
        _pin_path(connection)
    return connection


def role_search_path(connection: psycopg.Connection) -> str:
    """Return the role's own search path in this database, which the application's code may need."""
    kept = _role_paths.get(connection)
    if kept is not None:
        return kept
    [(path,)] = connection.execute("SELECT pg_catalog.current_setting('search_path')")
    return str(path)


def _pin_path(connection: psycopg.Connection) -> None:
    """Take our search path for the session, when the server process is ours alone.

    It is when our startup options reached it: a pooler that shares server processes drops them.
    """
    [(path, options_arrived)] = connection.execute(
        "SELECT pg_catalog.current_setting('search_path'),"
        " pg_catalog.current_setting('client_connection_check_interval') = '1s'"
    )
    if options_arrived:
        connection.execute(f"SET search_path = {SEARCH_PATH}")
        _role_paths[connection] = str(path)


@contextlib.contextmanager
def transaction(
    connection: psycopg.Connection,
    *,
    lock_timeout_ms: int = 500,
    statement_timeout_ms: int = 30_000,
    read_only: bool = False,
    row_security: bool = False,
    isolation: Isolation | None = None,
    snapshot: str | None = None,
) -> Iterator[psycopg.Connection]:
    """Run the body in one transaction: committed when the body ends, rolled back when it raises.

    Also rolled back on what is no `Exception` (Ctrl-C, Dagster's interrupts): the statement that runs on the
    server is cancelled first, so that nothing of ours goes on working unseen.

    Args:
        connection: in autocommit mode, outside of a transaction: there are no nested ones, since a
            sub-transaction's id would hide who wrote a row.
        lock_timeout_ms: longest wait for one lock; 0 would be for ever and is refused.
        statement_timeout_ms: longest time of one statement; 0 is no limit.
        read_only: refuse every write.
        row_security: let policies decide instead of refusing tables that have them for this role. For our own
            tables alone, after `require_installed`: there a policy is for every row, or there is none.
        isolation: default read committed.
        snapshot: see what the transaction sees that exported it (`pg_export_snapshot`); with `isolation`.

    Raises:
        ValueError: without a limit for lock waits.
        psycopg.errors.ActiveSqlTransaction: the connection is inside a transaction already.
        psycopg.errors.InFailedSqlTransaction: the body swallowed an error: nothing could have been committed.
    """
    if lock_timeout_ms <= 0:
        raise ValueError("lock_timeout_ms must be positive: nothing waits for a lock without a limit")
    if connection.info.transaction_status in _INSIDE_A_TRANSACTION:
        raise psycopg.errors.ActiveSqlTransaction("transactions are not nested")
    read_only = read_only or bool(connection.read_only)
    try:
        connection.execute(
            _begin(
                lock_timeout_ms,
                statement_timeout_ms,
                read_only=read_only,
                row_security=row_security,
                isolation=isolation,
                snapshot=snapshot,
            )
        )
        yield connection
        if connection.info.transaction_status == pq.TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction(
                "an error was swallowed inside the transaction; rolled back"
            )
        connection.execute("COMMIT")
    except BaseException:
        bring_to_rest(connection)
        raise


@contextlib.contextmanager
def outside_transaction(connection: psycopg.Connection, *, lock_timeout_ms: int) -> Iterator[None]:
    """Let the body execute what PostgreSQL refuses inside a transaction: VACUUM, CREATE INDEX CONCURRENTLY.

    No limit for the statement's time. When the body raises, what still runs on the server is cancelled.
    """
    try:
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', '0', false)",
            (f"{lock_timeout_ms}ms",),
        )
        yield
    except BaseException:
        bring_to_rest(connection)
        raise
    finally:
        if not (connection.closed or connection.broken):
            connection.execute("RESET lock_timeout")
            connection.execute("RESET statement_timeout")


def bring_to_rest(connection: psycopg.Connection) -> None:
    """Cancel what runs and roll back; a connection that cannot be brought to rest is closed.

    psycopg does so after Ctrl-C only: other interruptions (Dagster's) leave the statement running.
    The server rolls back when the connection is gone, so closing is always safe. Errors here must not take
    the place of the one that is being raised.
    """
    if connection.closed:
        return
    try:
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
            while connection.pgconn.get_result() is not None:  # the cancelled statement's answer
                pass
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        if not connection.closed:  # a lost one still knows its target, for `open_another`
            _close(connection)
    except BaseException:  # interrupted again while rolling back: the newer interruption is raised
        _close(connection)
        raise


def _close(connection: psycopg.Connection) -> None:
    """Close a connection that is given up; where it led to stays known for `open_another`."""
    with contextlib.suppress(psycopg.Error):  # closed by somebody else meanwhile
        _given_up[connection] = _target_of(connection)
    connection.close()


@contextlib.contextmanager
def usable(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Give the connection, or, when it was lost, another one to the same database for the body.

    An operation outlives a lost connection: what a caller does next must not fail for that.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    if not (connection.closed or connection.broken):
        yield connection
        return
    with open_another(connection) as another:
        yield another


def open_another(connection: psycopg.Connection) -> psycopg.Connection:
    """Open a further connection as the same role to the same database; `connection` may be lost already.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    parameters = dict(_given_up.get(connection) or _target_of(connection))
    name = parameters.pop("application_name", None)
    parameters.pop("options", None)  # connect() sets its own
    return connect(
        conninfo.make_conninfo("", **parameters),
        application_name=str(name) if name else None,
        pin_path=connection in _role_paths,
    )


def _target_of(connection: psycopg.Connection) -> dict[str, Any]:
    """Return where a connection leads, as whom; also of one that the server ended, not of one we closed."""
    parameters: dict[str, Any] = dict(conninfo.conninfo_to_dict(connection.info.dsn))
    if connection.info.password:
        parameters["password"] = connection.info.password  # `dsn` leaves it out
    return parameters


def check_server(connection: psycopg.Connection, *, writes: bool) -> None:
    """Refuse servers that the suite does not run on.

    Args:
        connection: to the server.
        writes: whether the caller is going to write.

    Raises:
        UnsupportedServer: older than 15, a standby, or read only while the caller writes.
    """
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise UnsupportedServer(
            f"the server runs PostgreSQL {version // 10000}; supported from {OLDEST_SERVER // 10000} on"
        )
    row = connection.execute(
        "SELECT pg_catalog.pg_is_in_recovery(), "
        "pg_catalog.current_setting('default_transaction_read_only') = 'on'"
    ).fetchone()
    in_recovery, is_read_only = row if row is not None else (False, False)
    where = f"{connection.info.host or 'the local server'}, database {connection.info.dbname}"
    if in_recovery:
        raise UnsupportedServer(f"{where} is a standby (in recovery); connect to the primary")
    if writes and is_read_only:
        raise UnsupportedServer(
            f"{where} is read only (default_transaction_read_only = on); "
            f"set it off for role {connection.info.user}"
        )


def _parse(url: str) -> dict[str, Any]:
    advice = (
        "write it as postgresql://user:password@host:5432/database, "
        "with @ : / ? # % in the password percent-encoded"
    )
    try:
        parameters: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:  # its message quotes what it could not read: perhaps the password
        raise UsageError(f"the database URL cannot be read; {advice}") from None
    if password_went_astray(parameters):
        raise UsageError(f"the database URL cannot be what was meant; {advice}")
    return parameters


def password_went_astray(parameters: dict[str, Any]) -> bool:
    """Say whether a bare @ or / in the password made host, port or database of what follows it."""
    host, port, database = (str(parameters.get(key) or "") for key in ("host", "port", "dbname"))
    return (
        "@" in host or re.fullmatch(r"[\d,]*", port) is None or ("@" in database and "user" not in parameters)
    )


def _options(read_only: bool) -> str:
    settings = {
        "row_security": "off",  # a policy that would hide rows is an error, not a silent zero (R1)
        "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_MS}ms",
        "client_connection_check_interval": "1s",  # a killed client's statement ends within a second
    }
    if read_only:
        settings["default_transaction_read_only"] = "on"
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _open(parameters: dict[str, Any], options: str) -> psycopg.Connection:
    if options:
        parameters = {**parameters, "options": options}
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)


def _unavailable(parameters: dict[str, Any], error: psycopg.Error) -> DatabaseUnavailable:
    cause = " ".join(str(error).split())
    for secret in filter(None, (parameters.get("password"), parameters.get("sslpassword"))):
        cause = cause.replace(str(secret), "***")
    target = ", ".join(
        f"{label} {parameters.get(key) or default}"
        for label, key, default in (
            ("host", "host", "(local)"),
            ("port", "port", "5432"),
            ("database", "dbname", "(default)"),
            ("user", "user", "(default)"),
        )
    )
    return DatabaseUnavailable(f"cannot connect to {target}: {cause}")


def _begin(
    lock_timeout_ms: int,
    statement_timeout_ms: int,
    *,
    read_only: bool,
    row_security: bool,
    isolation: Isolation | None,
    snapshot: str | None,
) -> sql.Composed:
    """Build BEGIN and the settings as one message: one round trip for each batch."""
    settings = {
        "lock_timeout": f"{lock_timeout_ms}ms",
        "statement_timeout": f"{statement_timeout_ms}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_MS}ms",
        "row_security": "on" if row_security else "off",
        "search_path": SEARCH_PATH,
        "tenant_migration.backfill": "on",  # our sync and claim triggers let these writes pass
    }
    return sql.SQL("BEGIN{isolation}{read_only}{snapshot}; SELECT {settings}").format(
        snapshot=sql.SQL("; SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot))
        if snapshot
        else sql.SQL(""),
        isolation=sql.SQL(f" ISOLATION LEVEL {isolation.upper()}" if isolation else ""),
        read_only=sql.SQL(" READ ONLY" if read_only else ""),
        settings=sql.SQL(", ").join(
            sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
            for name, value in settings.items()
        ),
    )
