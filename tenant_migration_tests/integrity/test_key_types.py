"""Tenant keys of every type: the mapping's text meets them, and what has no mapping is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import Outcome
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration_tests.integrity.world import failed, migrate, one
from tenant_migration_tests.servers import Server


@dataclass(frozen=True)
class KeyType:
    """A column type, the mapping's spelling of a key, that key in the table, and one that has no mapping."""

    name: str
    spelled: str
    stored: str
    unmapped: str


_UUID = "6f1b5e0a-0000-4000-8000-00000000000"

KEY_TYPES = (
    KeyType("text", "Straße 5", "Straße 5", "straße 5"),
    KeyType("varchar(20)", "a b", "a b", "a  b"),
    KeyType("char(8)", "acme", "acme", "acme2"),
    KeyType("name", "n1", "n1", "n2"),
    KeyType("uuid", "{6F1B5E0A00004000800000000000000C}", f"{_UUID}c", f"{_UUID}d"),
    KeyType("integer", "00042", "42", "43"),
    KeyType("bigint", " 9000000000", "9000000000", "9000000001"),
    KeyType("numeric", "7.0", "7", "7.5"),
    KeyType("colour", "red", "red", "blue"),
    KeyType("short_text", "abc", "abc", "abd"),
    KeyType("positive", "0011", "11", "12"),
)  # fmt: skip


@pytest.fixture
def database_of_types(server: Server) -> Iterator[str]:
    name = server.create_database()
    with psycopg.connect(server.url(name), autocommit=True) as application:
        application.execute(
            "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text); "
            "CREATE TYPE colour AS ENUM ('red', 'blue'); "
            "CREATE DOMAIN short_text AS varchar(5) CHECK (value <> ''); "
            "CREATE DOMAIN positive AS integer NOT NULL CHECK (value > 0); "
            "INSERT INTO organizations SELECT gen_random_uuid() FROM generate_series(1, 20)"
        )
        for number, key in enumerate(KEY_TYPES):
            application.execute(f"CREATE TABLE t{number} (id integer PRIMARY KEY, tenant_id {key.name})")
            application.execute(
                f"INSERT INTO t{number} SELECT i, '{key.stored}' FROM generate_series(1, 3) i"
            )
        with connect(server.url(name)) as connection:
            install(connection, MigrationConfig())
        for number, key in enumerate(KEY_TYPES):
            application.execute(
                "INSERT INTO tenant_org_mappings (tenant_id, organization_id) "
                "SELECT %s, id FROM organizations ORDER BY id OFFSET %s LIMIT 1",
                [key.spelled, number],
            )
    yield server.url(name)
    server.drop_database(name)


def test_keys_of_every_type_meet_their_mapping(database_of_types: str) -> None:
    config = MigrationConfig()
    with connect(database_of_types) as connection:
        plan = build_plan(connection, config)
        results = run_checks_before(connection, plan, config)
        assert failed(results) == set()
        with psycopg.connect(database_of_types, autocommit=True) as application:
            for number, key in enumerate(KEY_TYPES):
                application.execute(f"INSERT INTO t{number} VALUES (99, '{key.unmapped}')")
        results = run_checks_before(connection, plan, config)
        for number, key in enumerate(KEY_TYPES):
            result = one(results, "tenants_have_mapping", f"public.t{number}")
            assert (key.name, result.outcome, result.rows_checked) == (key.name, Outcome.FAILED, 4)
            assert [example.strip() for example in result.examples] == [key.unmapped]
            of_one = run_checks_before(
                connection, plan, config, tables=[f"public.t{number}"], tenants=[key.spelled]
            )
            assert failed(of_one) == set(), key.name
            assert one(of_one, "tenants_have_mapping", f"public.t{number}").rows_checked == 3


def test_migrated_keys_of_every_type_are_verified(database_of_types: str) -> None:
    config = MigrationConfig()
    migrate(database_of_types, {})
    with connect(database_of_types) as connection:
        plan = build_plan(connection, config)
        store_plan(connection, plan, "tester")
        results = run_checks_after(connection, plan, config)
        assert failed(results) == set()
        for number, key in enumerate(KEY_TYPES):
            result = one(results, "organization_matches_mapping", f"public.t{number}")
            assert (key.name, result.rows_checked, result.expected) == (key.name, 3, 3)
            with psycopg.connect(database_of_types, autocommit=True) as application:
                application.execute(f"UPDATE t{number} SET organization_id = NULL WHERE id = 2")
            of_one = run_checks_after(
                connection, plan, config, tables=[f"public.t{number}"], tenants=[key.spelled]
            )
            assert failed(of_one) == {"rows_have_organization"}, key.name
            assert one(of_one, "rows_have_organization", f"public.t{number}").details["tenants"] == {
                key.spelled: 1
            }


def test_rows_are_found_by_keys_of_any_type(server: Server) -> None:
    """A key whose type has no hash of its own among them."""
    name = server.create_database()
    url = server.url(name)
    with psycopg.connect(url, autocommit=True) as application, connect(url) as connection:
        application.execute(
            "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text); "
            "INSERT INTO organizations VALUES ('00000000-0000-4000-8000-000000000001'); "
            "CREATE TABLE visits (address inet, mask bit varying(8), price money, tenant_id text, "
            "PRIMARY KEY (address, mask, price)); "
            "INSERT INTO visits SELECT '10.0.0.1'::inet + i, B'101', i::money, 'a' "
            "FROM generate_series(1, 5) i"
        )
        install(connection, MigrationConfig())
        application.execute("INSERT INTO tenant_org_mappings SELECT 'a', id FROM organizations")
        migrate(url, {})
        plan = build_plan(connection, MigrationConfig())
        results = run_checks_after(connection, plan, MigrationConfig())
        assert failed(results) == set()
        assert one(results, "nothing_lost", "public.visits").rows_checked == 5
        application.execute("DELETE FROM visits WHERE address = '10.0.0.3'")
        results = run_checks_after(connection, plan, MigrationConfig())
        assert failed(results) == {"nothing_lost"}
        assert one(results, "nothing_lost", "public.visits").examples[0].startswith("address=10.0.0.3")
    server.drop_database(name)


def test_keys_without_case_meet_in_any_case(server: Server) -> None:
    """Under our search path a bare `=` between such keys would be that of text."""
    name = server.create_database()
    url = server.url(name)
    with psycopg.connect(server.superuser_url(name), autocommit=True) as superuser:
        if not superuser.execute("SELECT FROM pg_available_extensions WHERE name = 'citext'").fetchall():
            server.drop_database(name)
            pytest.skip(f"PostgreSQL {server.version} here carries no extension citext")
        superuser.execute("CREATE EXTENSION citext")
    with psycopg.connect(url, autocommit=True) as application, connect(url) as connection:
        application.execute(
            "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text); "
            "INSERT INTO organizations VALUES ('00000000-0000-4000-8000-000000000001'); "
            "CREATE TABLE codes (code citext PRIMARY KEY, tenant_id citext); "
            "CREATE TABLE uses (id integer PRIMARY KEY, tenant_id citext, code citext REFERENCES codes); "
            "INSERT INTO codes VALUES ('X', 'acme'); "
            "INSERT INTO uses VALUES (1, 'Acme', 'x'), (2, 'ACME', 'X'), (3, 'ghost', NULL)"
        )
        install(connection, MigrationConfig())
        application.execute("INSERT INTO tenant_org_mappings SELECT 'aCmE', id FROM organizations")
        plan = build_plan(connection, MigrationConfig(), count_rows=False)
        results = run_checks_before(connection, plan, MigrationConfig())
        assert failed(results) == {"tenants_have_mapping"}
        assert one(results, "tenants_have_mapping", "public.uses").examples == ("ghost",)
        assert one(results, "orphans", "public.uses").rows_checked == 2
    server.drop_database(name)
