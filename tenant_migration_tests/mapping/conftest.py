"""A database with organizations, an installed schema, and a connection as the tool makes it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.mapping.organizations import create_organizations


@pytest.fixture
def config() -> MigrationConfig:
    return MigrationConfig()


@pytest.fixture
def installed(database: str, config: MigrationConfig) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        create_organizations(connection)
        install(connection, config)
        yield connection
