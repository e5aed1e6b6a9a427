"""Connections are safe by their settings, and a transaction leaves nothing behind on any way out."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import pq, sql

from tenant_migration.database import connection as connection_module
from tenant_migration.database.connection import (
    check_server,
    connect,
    open_another,
    role_search_path,
    transaction,
    usable,
)
from tenant_migration.errors import DatabaseUnavailable, UnsupportedServer, UsageError
from tenant_migration.quickstart.server import EmbeddedServer, start_server, stop_server
from tenant_migration_tests.database.pooler import optionless_pooler
from tenant_migration_tests.servers import Server

SECRET = "s3cr3t-w0rd"


class Interrupt(BaseException):
    """Like Dagster's interrupt: no Exception."""


@pytest.fixture
def ours(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        connection.execute("CREATE TABLE public.things (id integer)")
        yield connection


def count(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM public.things").fetchone()
    assert row is not None
    return int(row[0])


def setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def test_a_pinned_connection_has_our_path_and_knows_the_role_s(database: str) -> None:
    with connect(database, pin_path=True) as pinned:
        assert setting(pinned, "search_path") == "pg_catalog, pg_temp"
        assert role_search_path(pinned) == '"$user", public'
        with open_another(pinned) as another:
            assert setting(another, "search_path") == "pg_catalog, pg_temp"
            assert role_search_path(another) == '"$user", public'


def test_a_connection_has_the_safe_settings(ours: psycopg.Connection) -> None:
    names = (
        "row_security",
        "search_path",
        "lock_timeout",
        "application_name",
        "client_connection_check_interval",
    )
    assert [setting(ours, name) for name in names] == [
        "off",
        '"$user", public',  # the role's own; only transaction() sets another
        "5s",
        "tenant_migration",
        "1s",
    ]
    assert setting(ours, "idle_in_transaction_session_timeout") == "1min"
    assert ours.autocommit
    assert ours.prepare_threshold is None


def test_options_of_the_url_are_kept_and_cannot_undo_ours(database: str) -> None:
    with connect(f"{database}&options=-c%20work_mem%3D9MB%20-c%20row_security%3Don") as connection:
        assert (setting(connection, "work_mem"), setting(connection, "row_security")) == ("9MB", "off")


def test_a_read_only_connection_cannot_write(database: str, ours: psycopg.Connection) -> None:
    with connect(database, read_only=True) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO public.things VALUES (1)")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), transaction(connection):
            connection.execute("INSERT INTO public.things VALUES (1)")
    assert count(ours) == 0


def test_a_transaction_commits_with_its_own_settings(ours: psycopg.Connection) -> None:
    with transaction(ours, lock_timeout_ms=123, statement_timeout_ms=4567, isolation="repeatable read"):
        ours.execute("INSERT INTO public.things VALUES (1)")
        inside = [
            setting(ours, name)
            for name in (
                "lock_timeout",
                "statement_timeout",
                "row_security",
                "search_path",
                "tenant_migration.backfill",
                "transaction_isolation",
                "idle_in_transaction_session_timeout",
            )
        ]
    assert inside == ["123ms", "4567ms", "off", "pg_catalog, pg_temp", "on", "repeatable read", "1min"]
    assert count(ours) == 1
    assert setting(ours, "lock_timeout") == "5s"
    assert setting(ours, "tenant_migration.backfill") == ""


def test_a_read_only_transaction_cannot_write(ours: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), transaction(ours, read_only=True):
        ours.execute("INSERT INTO public.things VALUES (1)")
    assert count(ours) == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Interrupt])
def test_a_transaction_rolls_back_on_any_way_out(
    ours: psycopg.Connection, error: type[BaseException]
) -> None:
    with pytest.raises(error), transaction(ours):  # noqa: PT012
        ours.execute("INSERT INTO public.things VALUES (1)")
        raise error
    assert ours.info.transaction_status == pq.TransactionStatus.IDLE
    assert count(ours) == 0


def test_an_interrupt_in_a_statement_cancels_it_on_the_server(
    database: str, ours: psycopg.Connection
) -> None:
    def interrupt(_signal: int, _frame: object) -> None:
        raise Interrupt

    earlier = signal.signal(signal.SIGUSR1, interrupt)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    timer = threading.Timer(0.5, signal.pthread_kill, [main_thread, signal.SIGUSR1])
    try:
        timer.start()
        started = time.monotonic()
        with pytest.raises(Interrupt), transaction(ours):  # noqa: PT012
            ours.execute("INSERT INTO public.things VALUES (1)")
            ours.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - started < 10
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, earlier)
    assert count(ours) == 0  # the same connection goes on
    with connect(database) as other:
        running = other.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE state = 'active' AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert running == (0,)


def test_a_swallowed_error_is_not_a_commit(ours: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InFailedSqlTransaction), transaction(ours):  # noqa: PT012
        ours.execute("INSERT INTO public.things VALUES (1)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            ours.execute("SELECT 1 / 0")
    assert count(ours) == 0


def test_transactions_are_not_nested_and_never_wait_without_a_limit(ours: psycopg.Connection) -> None:
    with transaction(ours):
        with pytest.raises(psycopg.errors.ActiveSqlTransaction), transaction(ours):
            pytest.fail("a nested transaction was opened")
        ours.execute("INSERT INTO public.things VALUES (1)")
    assert count(ours) == 1  # the refusal did not disturb the outer one
    with pytest.raises(ValueError, match="lock_timeout_ms"), transaction(ours, lock_timeout_ms=0):
        pytest.fail("a transaction without a limit was opened")


def test_a_lock_is_waited_for_no_longer_than_asked(database: str, ours: psycopg.Connection) -> None:
    with connect(database) as holder, transaction(holder):
        holder.execute("LOCK TABLE public.things IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable), transaction(ours, lock_timeout_ms=200):
            ours.execute("INSERT INTO public.things VALUES (1)")
        assert time.monotonic() - started < 3
    assert count(ours) == 0


def test_a_connection_that_the_server_ends_raises_and_leaves_nothing(
    server: Server, ours: psycopg.Connection
) -> None:
    with pytest.raises(psycopg.OperationalError), transaction(ours):  # noqa: PT012
        ours.execute("INSERT INTO public.things VALUES (1)")
        with psycopg.connect(server.superuser_url(), autocommit=True) as administrator:
            administrator.execute("SELECT pg_terminate_backend(%s)", [ours.info.backend_pid])
        ours.execute("INSERT INTO public.things VALUES (2)")
    with connect(server.url(ours.info.dbname)) as again:
        assert count(again) == 0


def test_behind_a_pooler_that_refuses_options_transactions_keep_their_settings(
    server: Server, database: str, ours: psycopg.Connection
) -> None:
    with optionless_pooler(server.embedded.socket_folder) as port:
        url = f"postgresql://app_owner@127.0.0.1:{port}/{ours.info.dbname}?sslmode=disable&gssencmode=disable"
        with connect(url, pin_path=True) as connection:
            assert setting(connection, "row_security") == "on"  # what the pooler's server gives
            assert setting(connection, "search_path") == '"$user", public', "the next client has it too"
            with transaction(connection):
                assert setting(connection, "row_security") == "off"
                assert setting(connection, "search_path") == "pg_catalog, pg_temp"
                connection.execute("INSERT INTO public.things VALUES (1)")
        with (
            connect(url, read_only=True) as connection,
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
            transaction(connection),
        ):
            connection.execute("INSERT INTO public.things VALUES (2)")
    assert count(ours) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://anna:{SECRET}@127.0.0.1:1/app",
        f"postgresql://anna:{SECRET}@no-such-host.invalid/app",
        f"host=127.0.0.1 port=1 dbname=app user=anna password={SECRET}",
    ],
)
def test_an_unreachable_server_is_named_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        connect(url)
    message = str(raised.value)
    assert "user anna" in message
    assert "database app" in message
    assert SECRET not in message
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://anna:p@{SECRET}@db.example/app",  # the bare @ makes the rest of the password the host
        f"postgresql://anna:p/{SECRET}@db.example/app",
        f"postgresql://anna:1234/{SECRET}@db.example/app",
        f"postgresql://anna@db.example/app?{SECRET}=1",
        f"host=db.example {SECRET}",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        connect(url)
    assert SECRET not in str(raised.value)
    assert "percent-encoded" in str(raised.value)


def test_a_role_that_the_server_does_not_know_is_named(server: Server, database: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"user nobody.*does not exist"):
        connect(server.url("postgres", "nobody"))


def test_a_writable_primary_is_accepted(ours: psycopg.Connection) -> None:
    check_server(ours, writes=True)
    check_server(ours, writes=False)


def test_a_read_only_database_is_refused_for_writes_only(server: Server, database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(server.superuser_url(), autocommit=True) as administrator:
        administrator.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(name))
        )
    with connect(database) as connection:
        check_server(connection, writes=False)
        with pytest.raises(UnsupportedServer, match="read only"):
            check_server(connection, writes=True)


def test_an_older_server_is_refused(ours: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "OLDEST_SERVER", ours.info.server_version + 1)
    with pytest.raises(UnsupportedServer, match=f"runs PostgreSQL {ours.info.server_version // 10000}"):
        check_server(ours, writes=False)


@contextmanager
def standby(server: Server) -> Iterator[str]:
    """A server in recovery: a cluster of its own, restarted with a standby signal."""
    folder = server.embedded.data_folder.parent / f"standby-{server.version}"
    programs = server.embedded.programs

    def start() -> EmbeddedServer:
        return start_server(folder, server.version, keep_running=False, programs=programs)

    stop_server(start())
    (folder / "standby.signal").touch()
    running = start()
    try:
        yield running.uri()
    finally:
        stop_server(running)


def test_a_standby_is_refused(server: Server) -> None:
    with (
        standby(server) as url,
        connect(url) as connection,
        pytest.raises(UnsupportedServer, match="standby"),
    ):
        check_server(connection, writes=False)


def test_a_connection_whose_rollback_failed_is_closed_and_can_be_replaced(database: str) -> None:
    with connect(database) as connection, psycopg.connect(database, autocommit=True) as other:

        def lose_it() -> None:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
            raise RuntimeError("the body's own")

        with pytest.raises(RuntimeError, match="the body's own"), transaction(connection):
            lose_it()
        assert connection.closed
        with usable(connection) as another:
            assert another.execute("SELECT current_database()").fetchone() == (other.info.dbname,)
