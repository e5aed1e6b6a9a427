"""The plan is made without writing, without the private schema, and fast for a thousand tables."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.version import VERSION
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import table_of

TABLES = 1000
_THOUSAND_TABLES = f"""
DO $$ BEGIN
    FOR n IN 0..{TABLES - 1} LOOP
        EXECUTE format('CREATE TABLE public.t%s (id int PRIMARY KEY, tenant_id uuid, above int, a text)', n);
        EXECUTE format('CREATE INDEX ON public.t%s (tenant_id)', n);
        EXECUTE format('INSERT INTO public.t%s VALUES (1, gen_random_uuid())', n);
        IF n > 0 THEN
            EXECUTE format('ALTER TABLE public.t%s ADD FOREIGN KEY (above) REFERENCES public.t%s', n, n - 1);
        END IF;
    END LOOP;
END $$
"""


@pytest.mark.parametrize("schema", schemas.NAMES)
def test_the_plan_survives_its_json(plan_schema: Callable[..., Plan], schema: str) -> None:
    plan = plan_schema(schema)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    positions = {table.qualified_name: table.position for table in plan.tables}
    assert list(positions.values()) == list(range(len(plan.tables)))
    for table in plan.tables:
        assert all(positions[parent] < table.position for parent in table.depends_on)
        assert table.organization_column not in {column.name for column in table.preserved_columns}
        assert table.strategy_reason


def test_planning_twice_gives_the_same_hashes(read_schema: Callable[[str], psycopg.Connection]) -> None:
    connection = read_schema("partitions")
    first, second = (build_plan(connection, MigrationConfig()) for _ in range(2))
    assert [table.table_hash for table in first.tables] == [table.table_hash for table in second.tables]
    assert len({table.table_hash for table in first.tables}) == len(first.tables)


def test_a_read_only_connection_is_enough_before_and_after_install(
    load_schema: Callable[[str], psycopg.Connection], database: str
) -> None:
    connection = load_schema("no_foreign_key")

    def everything() -> object:
        return connection.execute(
            "SELECT array_agg(relname ORDER BY relname), (SELECT count(*) FROM pg_catalog.pg_namespace)"
            " FROM pg_catalog.pg_class"
        ).fetchone()

    before = everything()
    with connect(database, read_only=True) as reader:
        first = build_plan(reader, MigrationConfig())
        assert everything() == before
        install(connection, MigrationConfig())
        second = build_plan(reader, MigrationConfig())
    assert [table.table_hash for table in second.tables] == [table.table_hash for table in first.tables]
    assert "mapping_unknown" in {hazard.name for hazard in first.hazards}
    assert "mapping_unknown" not in {hazard.name for hazard in second.hazards}
    assert {table.qualified_name for table in second.tables} == {"public.declared", "public.undeclared"}, (
        "our own tables, with tenant_id columns, are not managed"
    )


def test_an_interface_schema_of_its_own_is_left_out_there(connection: psycopg.Connection) -> None:
    schemas.load(connection, "several_schemas")
    connection.execute("CREATE SCHEMA app")
    config = MigrationConfig.model_validate(
        {"interface_schema": "app", "organizations": {"table": "public.organizations"}}
    )
    install(connection, config)
    plan = build_plan(connection, config)
    assert not [table for table in plan.tables if table.schema_name == "app"]
    assert plan.interface_schema == "app"


def test_preserved_columns_are_all_but_the_target_and_generated_ones(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema("generated")
    assert [column.name for column in table_of(plan, "from_key").preserved_columns] == ["id", "tenant_id"]
    assert [column.name for column in table_of(plan, "from_target").preserved_columns] == ["id", "tenant_id"]
    assert table_of(plan, "from_target").organization_column_exists
    assert not table_of(plan, "from_key").organization_column_exists


def test_the_organization_column_has_its_own_name_where_the_configuration_says(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema(
        "business_organization_column",
        organization_column="org_uuid",
        tables={"plain": {"organization_id_column": "org"}},
    )
    assert [table for table in plan.tables if table.refusals] == [], (
        "another name is the way out, and it works"
    )
    assert table_of(plan, "departments").organization_column == "org_uuid"
    assert table_of(plan, "plain").organization_column == "org"
    assert "organization_id" in {column.name for column in table_of(plan, "staff").preserved_columns}


def test_existing_index_and_foreign_key_are_seen(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("existing_organization")
    half_done, never_null = table_of(plan, "half_done"), table_of(plan, "never_null")
    assert (half_done.organization_index_exists, half_done.organization_foreign_key_exists) == (True, True)
    assert (never_null.organization_index_exists, never_null.organization_foreign_key_exists) == (False, True)
    assert not table_of(plan, "refers_elsewhere").organization_foreign_key_exists


def test_a_partition_key_that_holds_the_organization_column_is_refused(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "CREATE TABLE public.placed (tenant_id text, organization_id uuid)"
        " PARTITION BY HASH (organization_id);"
        "CREATE TABLE public.nested (tenant_id text, organization_id uuid, n int) PARTITION BY RANGE (n);"
        "CREATE TABLE public.nested_1 PARTITION OF public.nested FOR VALUES FROM (0) TO (9)"
        " PARTITION BY LIST ((organization_id::text));"
        "CREATE TABLE public.other (tenant_id text, organization_id uuid) PARTITION BY LIST (tenant_id)"
    )
    plan = build_plan(connection, MigrationConfig())
    refused = {
        table.table_name: {hazard.name for hazard in table.refusals}
        for table in plan.tables
        if table.refusals
    }
    assert refused == {name: {"organization_column_places_rows"} for name in ("placed", "nested")}


def test_settings_of_a_table_are_over_the_defaults(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema(
        "no_foreign_key",
        defaults={"batch_size": 500, "adaptive": False, "on_triggers": "guard"},
        tables={"declared": {"batch_size": 50, "adaptive": True, "tenant_required": True}},
    )
    declared, undeclared = table_of(plan, "declared").settings, table_of(plan, "undeclared").settings
    assert (declared.batch_size, declared.adaptive, declared.tenant_required) == (50, True, True)
    assert (undeclared.batch_size, undeclared.adaptive, undeclared.tenant_required) == (500, False, False)
    assert declared.on_triggers == undeclared.on_triggers == "guard"


def test_no_table_with_the_key_is_an_empty_plan(connection: psycopg.Connection) -> None:
    plan = build_plan(connection, MigrationConfig())
    assert (plan.tables, plan.relations, plan.derivable) == ((), (), ())


def test_a_thousand_tables_are_planned_well_under_ten_seconds(
    connection: psycopg.Connection, database: str
) -> None:
    """Each refers to the one before it and has two indexes and a row; rows are compared with the mapping."""
    connection.execute("CREATE TABLE public.organizations (id uuid PRIMARY KEY)")
    connection.execute(_THOUSAND_TABLES)
    install(connection, MigrationConfig())
    with connect(database, read_only=True) as reader:
        started = time.perf_counter()
        read_catalog(reader, MigrationConfig())
        catalog_seconds = time.perf_counter() - started
        plan = build_plan(reader, MigrationConfig())
        plan_seconds = time.perf_counter() - started - catalog_seconds
    assert [table.table_name for table in plan.tables] == [f"t{n}" for n in range(TABLES)]
    assert "unmapped_tenants" in {hazard.name for hazard in plan.tables[-1].hazards}
    assert catalog_seconds < 2, f"{catalog_seconds:.1f} s"
    assert plan_seconds < 10, f"{plan_seconds:.1f} s"


def test_a_plan_is_signed_with_the_release(plan_schema: Callable[..., Plan]) -> None:
    assert plan_schema("cycles").tool_version == VERSION
