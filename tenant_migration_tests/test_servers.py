"""The fixtures themselves: what every other test relies on."""

from __future__ import annotations

import psycopg

from tenant_migration_tests.servers import OWNER


def test_everything_connects_as_an_owner_who_cannot_pass_by_row_security(connection):
    found = connection.execute(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert found == (OWNER, False, False, False)


def test_server_is_of_the_version_that_the_test_is_named_after(server, connection):
    assert connection.info.server_version // 10_000 == server.version


def test_each_test_has_an_empty_database_of_its_own(server, database, connection):
    connection.execute("CREATE TABLE mine (x int)")
    other = server.create_database()
    with psycopg.connect(server.url(other)) as there:
        assert there.execute("SELECT to_regclass('public.mine')").fetchone() == (None,)
    server.drop_database(other)


def test_owner_owns_the_database_and_its_schema(connection):
    found = connection.execute(
        "SELECT pg_get_userbyid(d.datdba), pg_get_userbyid(n.nspowner) "
        "FROM pg_database AS d, pg_namespace AS n "
        "WHERE d.datname = current_database() AND n.nspname = 'public'"
    ).fetchone()
    assert found == (OWNER, OWNER)
