"""Keys of every type, names that must be quoted, tables of every kind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import pytest

from tenant_migration.errors import Refused
from tenant_migration_tests.backfill.conftest import World

UUIDS = tuple(str(uuid.UUID(int=n)) for n in range(1, 5))


@dataclass(frozen=True)
class Shape:
    """A table of one kind: what creates it, how a row is inserted for a tenant, which tenants it can hold."""

    name: str
    create: str
    tenants: tuple[str, ...]
    insert: str = "INSERT INTO {table} (id, tenant_id) VALUES (%s, %s)"
    settings: dict[str, object] = field(default_factory=dict)
    table: str = "public.things"
    with_null: bool = True


TEXTS = ("alpha", "beta", "O'Brien", "100%")
SHAPES = [
    Shape("text", "CREATE TABLE public.things (id int PRIMARY KEY, tenant_id text)", TEXTS),
    Shape("varchar", "CREATE TABLE public.things (id int PRIMARY KEY, tenant_id varchar(20))", TEXTS),
    Shape("char", "CREATE TABLE public.things (id int PRIMARY KEY, tenant_id char(12))", TEXTS),
    Shape(
        "uuid",
        "CREATE TABLE public.things (id uuid PRIMARY KEY, tenant_id uuid)",
        UUIDS,
        insert="INSERT INTO {table} (id, tenant_id) VALUES (lpad(%s::text, 32, '0')::uuid, %s)",
    ),
    Shape("integer", "CREATE TABLE public.things (id int PRIMARY KEY, tenant_id int)", ("1", "2", "007")),
    Shape("bigint", "CREATE TABLE public.things (id int PRIMARY KEY, tenant_id bigint)", ("1", "5000000000")),
    Shape(
        "enum",
        "CREATE TYPE public.owner AS ENUM ('alpha', 'beta');"
        " CREATE TABLE public.things (id int PRIMARY KEY, tenant_id public.owner)",
        ("alpha", "beta"),
    ),
    Shape(
        "domain",
        "CREATE DOMAIN public.tenant AS text CHECK (length(VALUE) < 9);"
        " CREATE TABLE public.things (id int PRIMARY KEY, tenant_id public.tenant)",
        ("alpha", "beta"),
    ),
    Shape(
        "quoted names",
        'CREATE SCHEMA "Weird Schema"; CREATE TABLE "Weird Schema"."Ta""ble 50%%" '
        '("I d" int PRIMARY KEY, "tenantId" text)',
        TEXTS,
        insert='INSERT INTO {table} ("I d", "tenantId") VALUES (%s, %s)',
        settings={"tenant_key_columns": ["tenantId"], "organization_column": 'Org "1" %'},
        table='"Weird Schema"."Ta""ble 50%%"',
    ),
    Shape(
        "composite key",
        "CREATE TABLE public.things (id int, at date DEFAULT '2026-01-01', tenant_id text,"
        " PRIMARY KEY (id, at))",
        TEXTS,
    ),
    Shape(
        "key with the tenant in it",
        "CREATE TABLE public.things (id int, tenant_id text, PRIMARY KEY (tenant_id, id))",
        TEXTS,
        with_null=False,
    ),
    Shape(
        "unique instead of a primary key",
        "CREATE TABLE public.things (id int NOT NULL UNIQUE, tenant_id text)",
        TEXTS,
    ),
    Shape("no key at all", "CREATE TABLE public.things (id int, tenant_id text)", TEXTS),
    Shape(
        "range partitions",
        "CREATE TABLE public.things (id int, tenant_id text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        " CREATE TABLE public.things_low PARTITION OF public.things FOR VALUES FROM (0) TO (150);"
        " CREATE TABLE public.things_rest PARTITION OF public.things DEFAULT",
        TEXTS,
    ),
    Shape(
        "list partitions by tenant",
        "CREATE TABLE public.things (id int, tenant_id text, PRIMARY KEY (id, tenant_id))"
        " PARTITION BY LIST (tenant_id);"
        " CREATE TABLE public.things_a PARTITION OF public.things FOR VALUES IN ('alpha');"
        " CREATE TABLE public.things_rest PARTITION OF public.things DEFAULT",
        TEXTS,
        with_null=False,
    ),
    Shape(
        "hash partitions of partitions, no key",
        "CREATE TABLE public.things (id int, tenant_id text) PARTITION BY HASH (id);"
        " CREATE TABLE public.things_0 PARTITION OF public.things FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
        " PARTITION BY RANGE (id);"
        " CREATE TABLE public.things_0_all PARTITION OF public.things_0 DEFAULT;"
        " CREATE TABLE public.things_1 PARTITION OF public.things FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        TEXTS,
    ),
]


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_fills_each_row_with_its_tenants_organization(bare_world: World, shape: Shape) -> None:
    world = bare_world
    world.settings.update(shape.settings)
    world.add_tenants((*shape.tenants, "not in this table"))
    world.connection.execute(
        shape.create.encode() if "%%" not in shape.create else shape.create.replace("%%", "%").encode()
    )
    insert = shape.insert.format(table=shape.table)
    for number in range(300):
        owners = [*shape.tenants, None] if shape.with_null else shape.tenants
        tenant = owners[number % len(owners)]
        world.connection.execute(insert, (number, tenant))
    plan = world.plan()
    (table,) = plan.tables
    result = world.migrate(table.qualified_name, batch_size=20, adaptive=False)
    organization = '"' + table.organization_column.replace('"', '""').replace("%", "%%") + '"'
    tenant_column = '"' + table.tenant_column.name + '"'
    rows = world.sql(
        f"SELECT rtrim(t.{tenant_column}::text, ' '), t.{organization} FROM {shape.table} t WHERE %s", True
    )
    expected = {
        tenant.lstrip("0") if shape.name == "integer" else tenant: org
        for tenant, org in world.sql("SELECT tenant_id, organization_id FROM public.tenant_org_mappings")
    }
    assert len(rows) == 300
    for tenant, org in rows:
        assert org == (None if tenant is None else expected[tenant])
    filled = sum(1 for _, org in rows if org is not None)
    assert result.rows_migrated == result.rows_expected == filled
    journal = f"tenant_migration.journal_{world.table_id(table.qualified_name)}"
    assert world.one(f"SELECT sum(row_count) FROM {journal}") == filled
    assert result.rows_by_tenant["not in this table"] == 0
    indexes = world.sql(
        "SELECT indisvalid FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND"
        " a.attnum = i.indkey[0]"
        " WHERE a.attname = %s",
        table.organization_column,
    )
    assert {valid for (valid,) in indexes} == {True}
    keys = world.sql(
        "SELECT convalidated FROM pg_constraint WHERE confrelid = 'public.organizations'::regclass"
        " AND contype = 'f'"
        " AND conrelid <> 'public.tenant_org_mappings'::regclass"
    )
    assert {valid for (valid,) in keys} == {True}


def test_a_tenants_id_that_is_no_value_of_the_keys_type_is_no_error(bare_world: World) -> None:
    world = bare_world
    world.add_tenants((*UUIDS, "alpha"))
    world.sql("CREATE TABLE public.by_uuid (id int PRIMARY KEY, tenant_id uuid)")
    world.sql(
        "INSERT INTO public.by_uuid SELECT i, lpad(i::text, 32, '0')::uuid FROM generate_series(1, 4) i"
    )
    world.sql("CREATE TABLE public.by_text (id int PRIMARY KEY, tenant_id text)")
    world.sql("INSERT INTO public.by_text VALUES (1, 'alpha'), (2, '00000000-0000-0000-0000-000000000001')")
    assert world.migrate("public.by_uuid").rows_migrated == 4
    assert world.migrate("public.by_text").rows_migrated == 2
    assert world.states("public.by_uuid")["alpha"] == "verifying"


def test_two_spellings_of_one_uuid_are_refused_by_name(bare_world: World) -> None:
    world = bare_world
    upper = "AAAAAAAA-0000-0000-0000-000000000001"
    world.add_tenants((upper, upper.lower()))
    world.sql("CREATE TABLE public.by_uuid (id int PRIMARY KEY, tenant_id uuid)")
    plan = world.plan()
    with pytest.raises(Refused, match=upper):
        world.run(plan)
    with pytest.raises(Refused, match=upper):  # the other one need not be selected
        world.run(plan, [upper])
    assert world.one("SELECT count(*) FROM tenant_migration.runs") == 0


def test_foreign_keys_composite_self_and_cyclic(world: World) -> None:
    world.sql(
        "CREATE TABLE public.a (id int PRIMARY KEY, tenant_id text, b_id int, parent_id int"
        " REFERENCES public.a)"
    )
    world.sql(
        "CREATE TABLE public.b (id int PRIMARY KEY, tenant_id text, a_id int REFERENCES public.a,"
        " UNIQUE (tenant_id, id))"
    )
    world.sql("ALTER TABLE public.a ADD FOREIGN KEY (b_id) REFERENCES public.b DEFERRABLE INITIALLY DEFERRED")
    world.sql(
        "CREATE TABLE public.c (id int PRIMARY KEY, tenant_id text, b_id int,"
        " FOREIGN KEY (tenant_id, b_id) REFERENCES public.b (tenant_id, id))"
    )
    with world.connection.transaction():
        world.sql(
            "INSERT INTO public.a SELECT i, 'alpha', i, nullif(i - 1, 0) FROM generate_series(1, 500) i"
        )
        world.sql("INSERT INTO public.b SELECT i, 'alpha', i FROM generate_series(1, 500) i")
    world.sql("INSERT INTO public.c SELECT i, 'alpha', i FROM generate_series(1, 500) i")
    for name in ("public.a", "public.b", "public.c"):
        assert world.migrate(name).rows_migrated == 500
        assert world.wrong(name) == world.missing(name) == 0


def test_ids_of_hostile_tenants_stay_data(bare_world: World) -> None:
    world = bare_world
    hostile = (
        "'; DROP TABLE claims; --",
        '"',
        "%s",
        "%(run_id)s",
        "$$",
        "\u202egnp",
        "é",
        "e\u0301",
        " ",
        "a" * 2000,
        "{}",
        "\\",
    )
    world.add_tenants(hostile)
    world.sql("CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text)")
    for number, tenant in enumerate(hostile):
        world.connection.execute("INSERT INTO public.claims VALUES (%s, %s)", (number, tenant))
    result = world.migrate("public.claims")
    assert result.rows_by_tenant == dict.fromkeys(hostile, 1)
    assert world.wrong("public.claims") == world.missing("public.claims") == 0
    alone = world.migrate("public.claims", tenants=["%s"])
    assert alone.rows_migrated == 0
