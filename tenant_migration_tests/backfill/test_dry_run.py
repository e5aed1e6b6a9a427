"""A dry run says what would happen, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Progress
from tenant_migration.database.connection import connect
from tenant_migration_tests.backfill.conftest import World, table_of


def test_counts_and_statements_agree_with_the_real_run(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    plan = world.plan()
    with connect(world.url, read_only=True) as reader:
        dry = dry_run_table(reader, plan, table_of(plan, "public.claims"))
    assert "organization_id" in dry.statements[0]
    assert (
        world.one(
            "SELECT count(*) FROM pg_attribute WHERE attrelid='public.claims'::regclass AND"
            " attname='organization_id'"
        )
        == 0
    )
    assert dry.rows_unmapped == 20
    assert any("without a mapping" in refusal for refusal in dry.refusals)
    result = world.migrate("public.claims")
    assert dry.rows_to_migrate == result.rows_migrated == 960
    assert dry.rows_by_tenant == result.rows_by_tenant
    assert dry.rows_null_tenant == 20
    after = dry_run_table(world.connection, plan, table_of(plan, "public.claims"))
    assert (after.rows_to_migrate, after.rows_already_done, after.statements) == (0, 960, ())


def test_only_those_who_work_on_the_same_tenants_stand_in_the_way(claims: Callable[[int], World]) -> None:
    world = claims(200)
    plan = world.plan()
    table = table_of(plan, "public.claims")
    said: dict[str, tuple[str, ...]] = {}

    def look(event: Progress) -> None:
        if event.rows_done and not said:
            with psycopg.connect(world.url, autocommit=True) as other:
                for name, tenants in (("alpha", ["alpha"]), ("beta", ["beta"]), ("all", None)):
                    said[name] = dry_run_table(other, plan, table, tenants=tenants).refusals

    backfill_table(world.connection, plan, table, world.run(plan, ["alpha"]), progress=look)
    assert any("working on the table" in refusal for refusal in said["alpha"])
    assert any("working on the table" in refusal for refusal in said["all"])
    assert said["beta"] == ()


def test_a_partition_that_hides_its_rows_is_a_refusal(world: World) -> None:
    world.sql("CREATE TABLE public.claims (id int, tenant_id text) PARTITION BY RANGE (id)")
    world.sql("CREATE TABLE public.claims_1 PARTITION OF public.claims DEFAULT")
    world.sql("INSERT INTO public.claims VALUES (1, 'alpha')")
    plan = world.plan()
    assert dry_run_table(world.connection, plan, table_of(plan, "public.claims")).refusals == ()
    world.sql("ALTER TABLE public.claims_1 ENABLE ROW LEVEL SECURITY")
    world.sql("ALTER TABLE public.claims_1 FORCE ROW LEVEL SECURITY")
    dry = dry_run_table(world.connection, plan, table_of(plan, "public.claims"))
    assert any("claims_1: row security applies" in refusal for refusal in dry.refusals)
