"""Fixtures for every test: real servers, and a fresh database for each test.

Everything connects as `app_owner`, a NOSUPERUSER NOBYPASSRLS role that owns the database.
`server.superuser_url(...)` is there for tests about other roles. The servers themselves are in `servers.py`.
"""

from __future__ import annotations

import signal
import zlib
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration_tests.servers import OWNER, Server, Servers, tested_versions

__all__ = ["OWNER", "Server"]

TESTS_IN_A_GROUP = 100
"""Of one folder and version: enough to share what they copy, few enough to divide the work evenly."""

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
def database_template() -> str:
    """Name of the database that `database` copies; a folder's own fixture of this name gives a filled one."""
    return "template1"


@pytest.fixture
def database(server: Server, database_template: str) -> Iterator[str]:
    """URL of a fresh database, as its owner."""
    name = server.create_database(database_template)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Divide the tests over tiers and processes; before `-m` chooses among them.

    Tests of one folder and one server version stay together under `--dist loadgroup`, since they share the
    databases that they copy. A folder with many tests is divided by its files.
    """
    newest = max(tested_versions())
    sizes = Counter(_folder_and_version(item) for item in items)
    for item in items:
        folder, version = group = _folder_and_version(item)
        if version is None:
            continue
        if version != newest and item.get_closest_marker("newest_server_by_default"):
            item.add_marker(pytest.mark.faults)
        parts = 1 + sizes[group] // TESTS_IN_A_GROUP
        part = zlib.crc32(str(item.path).encode()) % parts
        item.add_marker(pytest.mark.xdist_group(f"{folder}-pg{version}-{part}"))


def _folder_and_version(item: pytest.Item) -> tuple[str, int | None]:
    call = getattr(item, "callspec", None)
    return item.path.parent.name, call.params.get("server") if call is not None else None
