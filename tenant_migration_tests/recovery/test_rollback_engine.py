"""A rollback takes back what the migration wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration_tests.backfill.conftest import TENANTS, World
from tenant_migration_tests.recovery.conftest import roll_back

CONTENT = "SELECT md5(string_agg(md5(ROW(id, tenant_id, title, updated_at)::text), '' ORDER BY id)) FROM claims"


def test_all_tenants_are_taken_back_and_can_be_migrated_again(claims: Callable[[int], World]) -> None:
    world = claims(5_000)
    before = world.one(CONTENT)
    migrated = world.migrate("public.claims")
    result = roll_back(world, "public.claims")
    assert (result.rows_expected, result.rows_restored) == (migrated.rows_migrated,) * 2
    assert (result.rows_changed, result.rows_deleted, result.rows_failed, result.left_alone) == (0, 0, 0, ())
    assert world.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 0
    assert world.one(CONTENT) == before
    assert set(world.states("public.claims").values()) == {"rolled_back"}
    assert world.sql("SELECT DISTINCT migration_status, record_count FROM public.tenant_org_mappings") == [
        ("rolled_back", 0)
    ]
    assert world.migrate("public.claims").rows_migrated == migrated.rows_migrated
    assert world.missing("public.claims") == world.wrong("public.claims") == 0
    again = roll_back(world, "public.claims")
    assert again.rows_restored == migrated.rows_migrated
    assert set(again.restored_by_tenant) == set(TENANTS)
