"""Fixtures for tests of the plan: one of the small schemas, planned on a read-only connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration_tests import schemas
from tenant_migration_tests.servers import Server

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "two_key_names": {"tenant_key_columns": ["tenant_id", "tenantId"]},
    "organizations_elsewhere": {
        "organizations": {
            "table": "directory.Orgs",
            "id": "orgId",
            "parent_id": "partOf",
            "slug": "handle",
            "name": "title",
        }
    },
}
"""What a schema needs said; the others are planned with defaults."""


def configuration(schema: str, **more: Any) -> MigrationConfig:
    """Return the configuration of a schema, with more keys over it."""
    return MigrationConfig.model_validate({**CONFIGURATIONS.get(schema, {}), **more})


def table_of(plan: Plan, name: str) -> TablePlan:
    """Return a table's plan; bare names are in `public`."""
    found = plan.table(name if "." in name else f"public.{name}")
    assert found is not None, f"{name} is not planned; planned are {[t.qualified_name for t in plan.tables]}"
    return found


def _load(server: Server, connection: psycopg.Connection, name: str) -> None:
    if schemas.needs_superuser(name):
        with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
            schemas.load(connection, name, superuser=superuser)
    else:
        schemas.load(connection, name)


@pytest.fixture
def load_schema(server: Server, connection: psycopg.Connection) -> Callable[[str], psycopg.Connection]:
    """Load a schema into the test's own database; returns the owner's connection."""

    def load(name: str) -> psycopg.Connection:
        _load(server, connection, name)
        return connection

    return load


@pytest.fixture(scope="session")
def shared_urls(server: Server) -> Iterator[Callable[[str], str]]:
    """URL of a database with this schema, loaded once for all tests that only read."""
    databases: dict[str, str] = {}

    def url(name: str) -> str:
        if name not in databases:
            databases[name] = server.create_database()
            with psycopg.connect(server.url(databases[name]), autocommit=True) as connection:
                _load(server, connection, name)
        return server.url(databases[name])

    yield url
    for database in databases.values():
        server.drop_database(database)


@pytest.fixture
def read_schema(shared_urls: Callable[[str], str]) -> Iterator[Callable[[str], psycopg.Connection]]:
    """Open a connection, which refuses every write, to the shared database with this schema."""
    with ExitStack() as connections:
        yield lambda name: connections.enter_context(connect(shared_urls(name), read_only=True))


@pytest.fixture
def plan_schema(read_schema: Callable[[str], psycopg.Connection]) -> Callable[..., Plan]:
    """Plan a schema on a connection that refuses every write."""
    return lambda name, **more: build_plan(read_schema(name), configuration(name, **more))
