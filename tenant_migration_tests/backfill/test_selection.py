"""Some tenants only: by the index on the key, or by pages; the others are not touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenant_migration.errors import UnknownTenant
from tenant_migration_tests.backfill.conftest import World


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "pages"])
@pytest.mark.parametrize("tenants", [["beta"], ["beta", "O'Brien Local", "100%"]], ids=["one", "three"])
def test_only_the_selected_tenants_are_written(
    claims: Callable[[int], World], indexed: bool, tenants: list[str]
) -> None:
    world = claims(3_000)
    if indexed:
        world.sql("CREATE INDEX ON public.claims (tenant_id, id)")
    result = world.migrate("public.claims", tenants=tenants, batch_size=100)
    filled = dict(
        world.sql(
            "SELECT tenant_id, count(*) FROM public.claims WHERE organization_id IS NOT NULL GROUP"
            " BY tenant_id"
        )
    )
    expected = dict(
        world.sql(
            "SELECT tenant_id, count(*) FROM public.claims WHERE tenant_id = ANY (%s) GROUP BY tenant_id",
            tenants,
        )
    )
    assert filled == expected == result.rows_by_tenant
    assert result.rows_remaining == 0
    assert world.states("public.claims") == dict.fromkeys(tenants, "verifying")
    assert world.wrong("public.claims") == 0
    world.assert_journal_is_exact("public.claims", before=set())
    assert world.one("SELECT count(*) FROM tenant_migration.run_tenants") == len(tenants)


def test_all_tenants_after_some_do_only_what_is_left(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    first = world.migrate("public.claims", tenants=["beta"])
    rest = world.migrate("public.claims")
    assert first.rows_migrated + rest.rows_migrated == 960
    assert rest.rows_by_tenant["beta"] == 0
    rows = dict(
        world.sql(
            "SELECT tenant_id, rows_migrated FROM tenant_migration.table_states JOIN tenant_migration.tenants"
            " USING (tenant_number)"
        )
    )
    assert rows["beta"] == first.rows_migrated
    assert sum(rows.values()) == 960


def test_a_tenant_without_rows_is_done(claims: Callable[[int], World]) -> None:
    world = claims(100)
    world.add_tenants(["newcomer"])
    result = world.migrate("public.claims", tenants=["newcomer"])
    assert result.rows_by_tenant == {"newcomer": 0}
    assert world.states("public.claims") == {"newcomer": "verifying"}


def test_an_empty_table_is_done(claims: Callable[[int], World]) -> None:
    world = claims(0)
    result = world.migrate("public.claims")
    assert (result.rows_expected, result.rows_migrated, result.batches, result.waiting) == (0, 0, 0, ())
    assert set(world.states("public.claims").values()) == {"verifying"}


def test_an_unknown_tenant_is_refused_before_anything_is_written(claims: Callable[[int], World]) -> None:
    world = claims(10)
    with pytest.raises(UnknownTenant, match="'nosuch'"):
        world.migrate("public.claims", tenants=["beta", "nosuch"])
    assert world.one("SELECT count(*) FROM tenant_migration.runs") == 0


def test_stale_statistics_do_not_make_a_batch_scan_the_mapping_for_each_row(
    claims: Callable[[int], World],
) -> None:
    """Statistics say "one row": joined row by row, 3,000 tenants and rows are nine million steps."""
    world = claims(0)
    many = [f"tenant {n}" for n in range(3_000)]
    world.connection.execute(
        "INSERT INTO public.organizations (id, name) SELECT gen_random_uuid(), t FROM unnest(%s::text[]) t",
        (many,),
    )
    world.sql(
        "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) SELECT name, id FROM"
        " public.organizations"
        " WHERE name LIKE 'tenant %%' AND %s",
        True,
    )
    world.sql("INSERT INTO public.claims (id, tenant_id) VALUES (0, 'tenant 0')")
    world.sql("ANALYZE public.claims")
    world.connection.execute(
        "INSERT INTO public.claims (id, tenant_id) SELECT i, 'tenant ' || i %% 3000 FROM"
        " generate_series(1, 3000) i WHERE %s",
        (True,),
    )
    times: list[float] = []
    result = world.migrate(
        "public.claims",
        batch_size=50_000,
        adaptive=False,
        progress=lambda event: times.append(event.batch_ms),
    )
    assert result.rows_migrated == 3_001
    plans = world.sql("SELECT 1 FROM tenant_migration.runs")
    assert plans
    assert max(times) < 3_000
