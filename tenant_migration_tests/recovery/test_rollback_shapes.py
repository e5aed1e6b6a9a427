"""Keys of every type, names that must be quoted, tables of every kind: taken back as they were migrated."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration.database.names import identifier
from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.backfill.test_key_types import SHAPES, Shape
from tenant_migration_tests.recovery.conftest import roll_back

KEYS = {
    "text": "'k' || i",
    "varchar(20)": "'k' || i",
    "char(10)": "'k' || i",
    "uuid": "md5(i::text)::uuid",
    "smallint": "i",
    "numeric": "i / 10.0",
    "double precision": "i / 3.0",
    "date": "date '2020-01-01' + i",
    "timestamptz": "timestamptz '2020-01-01' + i * interval '1 hour'",
    "inet": "inet '10.0.0.0' + i",
    "bytea": "int4send(i)",
    "public.code": "'k' || i",
    'text COLLATE "POSIX"': "'k' || i",
}


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_each_shape_of_table_is_taken_back(bare_world: World, shape: Shape) -> None:
    world = bare_world
    world.settings.update(shape.settings)
    world.add_tenants(shape.tenants)
    world.connection.execute(shape.create.replace("%%", "%").encode())
    insert = shape.insert.format(table=shape.table)
    for number in range(60):
        world.connection.execute(insert.encode(), (number, shape.tenants[number % len(shape.tenants)]))
    plan = world.plan()
    (table,) = [table for table in plan.tables if table.table_name != "organizations"]
    name = table.qualified_name
    column = identifier(table.organization_column).as_string(world.connection).replace("%%", "%")
    counted = f"SELECT count(*) FROM {shape.table.replace('%%', '%')} WHERE {column} IS NOT NULL"
    world.migrate(name, batch_size=7, adaptive=False)
    filled = world.connection.execute(counted.encode()).fetchone()
    assert filled == (60,)
    one = roll_back(world, name, tenants=[shape.tenants[0]], batch_size=10, adaptive=False)
    assert set(one.restored_by_tenant) == {shape.tenants[0]}
    rest = roll_back(world, name)
    assert one.rows_restored + rest.rows_restored == 60
    assert (one.notes, rest.notes, rest.rows_failed) == ((), (), 0)
    assert world.connection.execute(counted.encode()).fetchone() == (0,)


@pytest.mark.parametrize("kind", KEYS)
def test_rows_are_found_by_keys_of_every_type_and_claimed_by_them(world: World, kind: str) -> None:
    world.sql("CREATE DOMAIN public.code AS text CHECK (VALUE <> '')")
    world.sql(f"CREATE TABLE public.things (k {kind} PRIMARY KEY, n int, tenant_id text)")
    world.sql(f"INSERT INTO things SELECT {KEYS[kind]}, i, 'alpha' FROM generate_series(1, 100) i")
    world.migrate("public.things", batch_size=30, adaptive=False)
    with psycopg.connect(world.url, autocommit=True) as application:
        application.execute("UPDATE things SET organization_id = NULL WHERE n <= 3")
        application.execute(
            "UPDATE things SET organization_id = o.organization_id FROM things AS o"
            " WHERE things.n = 2 AND o.n = 50"
        )
        application.execute("DELETE FROM things WHERE n = 10")
    result = roll_back(world, "public.things", batch_size=30, adaptive=False)
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (96, 3, 1)
    assert world.sql("SELECT n FROM things WHERE organization_id IS NOT NULL") == [(2,)]


def test_rows_are_found_in_the_partition_where_they_are_now(world: World) -> None:
    world.sql("CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text) PARTITION BY RANGE (id)")
    world.sql("CREATE TABLE public.claims_all PARTITION OF claims FOR VALUES FROM (0) TO (1000)")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 300) i")
    world.migrate("public.claims")
    world.sql("ALTER TABLE claims DETACH PARTITION claims_all")
    world.sql("CREATE TABLE public.claims_new PARTITION OF claims FOR VALUES FROM (0) TO (1000)")
    world.sql("SET tenant_migration.backfill = 'on'")  # a move of rows, not a decision about them
    world.sql("INSERT INTO claims SELECT * FROM claims_all WHERE id > 20")
    world.sql("RESET tenant_migration.backfill")
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_deleted) == (280, 20)
    assert world.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 0
    assert world.one("SELECT count(*) FROM claims_all WHERE organization_id IS NOT NULL") == 300


def test_children_by_inheritance_are_not_touched(world: World) -> None:
    world.sql("CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text)")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 50) i")
    world.migrate("public.claims")
    world.sql("CREATE TABLE public.claims_child () INHERITS (claims)")
    world.sql("INSERT INTO claims_child SELECT * FROM ONLY claims")
    assert roll_back(world, "public.claims").rows_restored == 50
    assert world.one("SELECT count(*) FROM claims_child WHERE organization_id IS NOT NULL") == 50
