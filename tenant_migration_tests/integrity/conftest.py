"""Fixtures: a healthy world before and after a migration, built once a server, copied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenant_migration.database.connection import connect
from tenant_migration_tests.integrity.world import World, build_before, migrate
from tenant_migration_tests.servers import Server


@pytest.fixture(scope="session")
def template_before(server: Server) -> Iterator[str]:
    name = server.create_database()
    build_before(server.url(name))
    yield name
    server.drop_database(name)


@pytest.fixture(scope="session")
def template_after(server: Server, template_before: str) -> Iterator[str]:
    name = server.create_database(template_before)
    migrate(server.url(name))
    yield name
    server.drop_database(name)


def _copy(server: Server, template: str) -> Iterator[World]:
    name = server.create_database(template)
    with connect(server.url(name)) as connection:
        yield World(server.url(name), server.superuser_url(name), connection)
    server.drop_database(name)


@pytest.fixture
def before(server: Server, template_before: str) -> Iterator[World]:
    """Not migrated; every check passes."""
    yield from _copy(server, template_before)


@pytest.fixture
def after(server: Server, template_after: str) -> Iterator[World]:
    """Migrated and verified; every check passes."""
    yield from _copy(server, template_after)
