"""A database with organizations, an installed schema, and a connection as the tool makes it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.mapping.organizations import create_organizations
from tenant_migration_tests.servers import Server


@pytest.fixture
def config() -> MigrationConfig:
    return MigrationConfig()


@pytest.fixture
def database_template(server: Server, request: pytest.FixtureRequest) -> str:
    """For tests of what is `installed` a database that has it, with organizations."""
    return server.template("mapping", _fill) if "installed" in request.fixturenames else "template1"


def _fill(url: str) -> None:
    with connect(url) as connection:
        create_organizations(connection)
        install(connection, MigrationConfig())


@pytest.fixture
def installed(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        yield connection
