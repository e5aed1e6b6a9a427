"""A small application: members, claims that refer to members, and notes that refer to nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.servers import Server

ORGANIZATION = "00000000-0000-0000-0000-0000000000a{}"
TENANTS = ("acme", "O'Brien Local", "zeta")

_SCHEMA = """
CREATE TABLE organizations (
    id uuid PRIMARY KEY, parent_id uuid REFERENCES organizations, slug text, name text);
INSERT INTO organizations
SELECT ('00000000-0000-0000-0000-0000000000a' || n)::uuid,
       CASE WHEN n > 1 THEN '00000000-0000-0000-0000-0000000000a1'::uuid END,
       'org-' || n, 'Organization ' || n
FROM generate_series(1, 3) AS n;
CREATE TABLE members (id integer PRIMARY KEY, tenant_id text,
                      updated_at timestamptz NOT NULL DEFAULT '2020-01-01');
CREATE INDEX ON members (tenant_id);
CREATE TABLE claims (id integer PRIMARY KEY, tenant_id text, member_id integer REFERENCES members,
                     amount integer NOT NULL DEFAULT 0);
CREATE INDEX ON claims (tenant_id);
CREATE TABLE notes (id integer PRIMARY KEY, tenant_id text);
CREATE INDEX ON notes (tenant_id);
INSERT INTO members (id, tenant_id)
SELECT n, (ARRAY['acme', 'O''Brien Local', 'zeta'])[1 + n % 3] FROM generate_series(1, 300) AS n;
INSERT INTO claims (id, tenant_id, member_id)
SELECT n, (ARRAY['acme', 'O''Brien Local', 'zeta'])[1 + n % 3], n FROM generate_series(1, 300) AS n;
INSERT INTO notes (id, tenant_id)
SELECT n, (ARRAY['acme', 'O''Brien Local', 'zeta'])[1 + n % 3] FROM generate_series(1, 30) AS n;
"""


@pytest.fixture
def config() -> MigrationConfig:
    return MigrationConfig()


@pytest.fixture
def database_template(server: Server, request: pytest.FixtureRequest) -> str:
    """For tests of the `application` a database that has it, installed and mapped."""
    return server.template("application", _fill) if "application" in request.fixturenames else "template1"


def fill_application(connection: psycopg.Connection) -> None:
    """Create the application's tables and rows; nothing of ours."""
    connection.execute(_SCHEMA)


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as setup, connect(url) as connection:
        fill_application(setup)
        install(connection, MigrationConfig())
        for number, tenant in enumerate(TENANTS, start=1):
            setup.execute(
                "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
                [tenant, ORGANIZATION.format(number)],
            )


@pytest.fixture
def application(database: str) -> Iterator[psycopg.Connection]:
    """The application's database, installed and mapped, as its owner."""
    with connect(database) as connection:
        yield connection
