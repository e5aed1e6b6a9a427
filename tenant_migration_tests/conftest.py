"""Fixtures for every test: real servers, and a fresh database for each test.

Everything connects as `app_owner`, a NOSUPERUSER NOBYPASSRLS role that owns the database.
`server.superuser_url(...)` is there for tests about other roles. The servers themselves are in `servers.py`.
"""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration_tests.servers import OWNER, Server, Servers, tested_versions

__all__ = ["OWNER", "Server"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A test run that was started in the background ignores Ctrl-C, and so would every process that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this process; a test that needs two versions at once asks here."""
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture(scope="session", params=tested_versions(), ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    return servers.get(request.param)


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one server version together under `--dist loadgroup`: a process starts one server.

    With more processes than versions a version's tests are divided by their file.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    shares = max(1, workers // len(tested_versions()))
    for item in items:
        version = getattr(item, "callspec", None) and item.callspec.params.get("server")
        if version is not None:
            share = zlib.crc32(str(item.path).encode()) % shares
            item.add_marker(pytest.mark.xdist_group(f"pg{version}-{share}"))
