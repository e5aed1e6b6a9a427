"""A dry run says what would happen, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration.backfill.dry_run import dry_run_table
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
