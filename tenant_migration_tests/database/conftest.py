"""Fixtures of the database side: a database with organizations, with and without the installation."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.resources import resource_path
from tenant_migration_tests.database.scene import ORGANIZATIONS, Scene
from tenant_migration_tests.servers import Server

Psql = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def database_template(server: Server, request: pytest.FixtureRequest) -> str:
    """For tests of a `scene` a database with organizations and the installation."""
    return server.template("scene", _fill) if "scene" in request.fixturenames else "template1"


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ORGANIZATIONS)
    with connect(url) as connection:
        install(connection, MigrationConfig())


@pytest.fixture
def application(connection: psycopg.Connection) -> Scene:
    """A database with an organizations table and nothing of ours."""
    connection.execute(ORGANIZATIONS)
    return Scene(connection)


@pytest.fixture
def scene(connection: psycopg.Connection) -> Scene:
    """The same with tenant_migration installed."""
    return Scene(connection)


@pytest.fixture
def run_psql(server: Server, database: str) -> Psql:
    """Run psql on a file of `sql/`, as the owner or with another URL: (file, variable=value, ...)."""

    def run(file: str | Path, url: str = database, **variables: str) -> subprocess.CompletedProcess[str]:
        path = resource_path("sql") / file
        settings = [argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")]
        return subprocess.run(
            [
                server.embedded.programs / "psql",
                "-X",
                *settings,
                "-f",
                path,
                "-d",
                url,
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def dump(server: Server) -> Callable[[str], str]:
    """Return pg_dump's text of a database's structure, without its session key and its own comments."""

    def dump_structure(url: str) -> str:
        text = subprocess.check_output(
            [server.embedded.programs / "pg_dump", "--schema-only", "-d", url], text=True
        )
        return "\n".join(line for line in text.splitlines() if line and not line.startswith(("--", "\\")))

    return dump_structure
