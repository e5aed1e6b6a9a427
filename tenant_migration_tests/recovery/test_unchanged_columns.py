"""A reset names columns that stay as they are: the application must not notice, nor lose a write."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.recovery.rollback.unchanged_columns import unchanged_columns
from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.recovery.scenes import TABLE, migrate_all, organizations, take_back

_SCHEMA = """
CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text);
CREATE TABLE things (
    id integer PRIMARY KEY, tenant_id text NOT NULL, organization_id uuid, "a ""b"" 10%" integer, c integer,
    d integer, serial integer GENERATED ALWAYS AS IDENTITY,
    doubled integer GENERATED ALWAYS AS (d * 2) STORED);
CREATE INDEX ON things (organization_id);
CREATE INDEX ON things (tenant_id, c);
CREATE INDEX ON things ("a ""b"" 10%");
CREATE INDEX ON things (serial);
CREATE INDEX ON things (d);
CREATE INDEX ON things (doubled);
CREATE INDEX ON things USING hash (c);
CREATE INDEX ON things ((c + 1));
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"""

BEFORE = "CREATE TRIGGER b BEFORE UPDATE ON things FOR EACH ROW EXECUTE FUNCTION noted()"
AFTER = "CREATE TRIGGER a AFTER UPDATE ON things FOR EACH ROW EXECUTE FUNCTION noted()"
OF_TENANT = "CREATE TRIGGER o AFTER UPDATE OF tenant_id ON things FOR EACH ROW EXECUTE FUNCTION noted()"
RULE = "CREATE RULE r AS ON UPDATE TO things WHERE false DO ALSO NOTHING"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SELECT 1", {"id", "tenant_id", 'a "b" 10%'}),
        (AFTER, {"id", "tenant_id", 'a "b" 10%'}),
        (BEFORE, {"tenant_id", 'a "b" 10%'}),
        (OF_TENANT, {"id", "c", 'a "b" 10%'}),
        (RULE, set()),
        ("DROP INDEX things_organization_id_idx", set()),
        ("ALTER TABLE things DROP CONSTRAINT things_pkey", {"tenant_id", 'a "b" 10%'}),
    ],
    ids=["plain", "after", "before", "update_of", "rule", "not_indexed", "no_key"],
)
def test_what_the_application_could_notice_is_not_named(
    database: str, connection: psycopg.Connection, statement: str, named: set[str]
) -> None:
    connection.execute(_SCHEMA)
    connection.execute(statement)
    with connect(database) as ours:
        [table] = [t for t in build_plan(ours, MigrationConfig()).tables if t.table_name == "things"]
        assert set(unchanged_columns(ours, table)) == named


def test_no_column_of_a_partitioned_table_is_named(database: str, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text);"
        "CREATE TABLE things (id integer, tenant_id text NOT NULL, organization_id uuid, PRIMARY KEY (id))"
        " PARTITION BY RANGE (id); CREATE TABLE things_1 PARTITION OF things DEFAULT;"
        "CREATE INDEX ON things (organization_id); CREATE INDEX ON things (tenant_id)"
    )
    with connect(database) as ours:
        [table] = [t for t in build_plan(ours, MigrationConfig()).tables if t.table_name == "things"]
        assert unchanged_columns(ours, table) == ()


def test_what_the_application_writes_meanwhile_stays(claims: Callable[[int], World]) -> None:
    """The reset waits for its row lock, and takes the row as it then is: named columns included."""
    world = claims(30)
    migrate_all(world)
    [[tenant, key]] = world.sql(
        f"SELECT tenant_id, id FROM {TABLE} WHERE organization_id IS NOT NULL LIMIT 1"
    )
    with connect(world.url) as ours:
        plan = build_plan(ours, MigrationConfig())
        assert set(unchanged_columns(ours, plan.tables[0])) >= {"id"}
    with psycopg.connect(world.url) as application:
        application.execute(f"UPDATE {TABLE} SET tenant_id = 'other-tenant' WHERE id = %s", [key])
        finished = threading.Timer(0.3, application.commit)
        finished.start()
        take_back(world)
        finished.join()
    assert tenant != "other-tenant"
    assert world.sql(f"SELECT tenant_id FROM {TABLE} WHERE id = {key}") == [("other-tenant",)]
    assert set(organizations(world).values()) == {None}
