"""The whole engine on one table: what is written, what is not, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration_tests.backfill.conftest import TENANTS, World


def test_moves_every_mapped_row_and_no_other(claims: Callable[[int], World]) -> None:
    world = claims(9_999)
    result = world.migrate("public.claims", batch_size=500)
    assert world.missing("public.claims") == 0
    assert world.wrong("public.claims") == 0
    untouched = world.one(
        "SELECT count(*) FROM public.claims WHERE tenant_id IS NULL OR tenant_id = 'system'"
    )
    assert world.one("SELECT count(*) FROM public.claims WHERE organization_id IS NULL") == untouched > 0
    assert result.rows_migrated == result.rows_expected == 9_999 - untouched
    assert result.rows_remaining == 0
    assert sum(result.rows_by_tenant.values()) == result.rows_migrated
    assert set(world.states("public.claims").values()) == {"verifying"}
    assert set(world.states("public.claims")) == set(TENANTS)
    world.assert_journal_is_exact("public.claims", before=set())
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
