"""Checks of some tables or tenants look at these alone, and name them in their results."""

from __future__ import annotations

import pytest

from tenant_migration.database.connection import connect
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.integrity.registry import CHECKS
from tenant_migration_tests.integrity.world import (
    LINE_ITEMS,
    TABLES,
    TENANTS,
    TEXT_TENANTS,
    UUID_TENANTS,
    World,
    failed,
    one,
    organization_of,
)

_DATABASE_WIDE = {
    check.name for check in CHECKS if check.scope == "database" and check.phase == "pre-migration"
}


def _tables(results: list[CheckResult]) -> set[str | None]:
    return {result.table for result in results}


def test_all_tables_and_the_database_are_checked_by_default(before: World) -> None:
    assert _tables(before.check("pre-migration")) == {None, *TABLES}


def test_no_tables_means_the_database_as_a_whole(before: World) -> None:
    results = before.check("pre-migration", tables=[])
    assert _tables(results) == {None}
    assert {result.name for result in results} == _DATABASE_WIDE


def test_a_table_is_checked_without_the_others_being_readable(before: World) -> None:
    before.execute("REVOKE SELECT ON claims, readings, ledger, organizations FROM app_owner")
    results = before.check("pre-migration", tables=["public.profiles"])
    assert _tables(results) == {"public.profiles"}
    assert failed(results) == set()


def test_what_is_pending_is_counted_over_the_tables_asked_about(after: World) -> None:
    after.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES ('new', %s)",
        organization_of("beta"),
    )
    results = after.check("post-migration", tables=["public.claims", "public.ledger"])
    pending = one(results, "pending_pairs", None)
    assert (pending.count, pending.rows_checked) == (2, 2 * (len(TENANTS) + 1))
    assert pending.details["pairs"] == {"public.claims": {"pending": 1}, "public.ledger": {"pending": 1}}
    assert one(after.check("post-migration", tables=[]), "pending_pairs", None).count == len(TABLES)
    assert (
        one(after.check("post-migration", tenants=["beta"]), "pending_pairs", None).outcome is Outcome.PASSED
    )


def _table_of(tenant: str) -> tuple[str, int]:
    """A table that has rows of this tenant, and how many."""
    if tenant in TEXT_TENANTS:
        return "public.claims", 3
    return (LINE_ITEMS, 4) if tenant in UUID_TENANTS else ("public.ledger", 3)


def test_a_tenant_is_judged_by_its_own_rows_before(before: World) -> None:
    """Whatever the id looks like, and whatever is wrong with others."""
    before.execute("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')")
    for tenant in TENANTS:
        results = before.check("pre-migration", tenants=[tenant])
        assert failed(results) == set(), tenant
        assert {result.tenant_id for result in results} == {tenant}
        table, rows = _table_of(tenant)
        assert one(results, "tenants_have_mapping", table).rows_checked == rows


def test_a_tenant_is_judged_by_its_own_rows_after(after: World) -> None:
    """The rows of every other tenant are spoilt in turn, and mended."""
    keys = {"claims": "tenant_id", "ledger": "tenant_id", 'app."Line%%Items"': '"tenantId"'}
    for tenant in TENANTS:
        for name, key in keys.items():
            after.execute(f"UPDATE {name} SET organization_id = NULL WHERE {key}::text <> %s", tenant)
        results = after.check("post-migration", tenants=[tenant])
        assert failed(results) == set(), tenant
        table, rows = _table_of(tenant)
        assert one(results, "rows_have_organization", table).rows_checked == rows
        assert one(results, "journal_matches_rows", table).rows_checked == rows
        assert "rows_have_organization" in failed(after.check("post-migration"))
        for name, key in keys.items():
            after.execute(
                f"UPDATE {name} t SET organization_id = m.organization_id FROM tenant_org_mappings m "
                f"WHERE m.tenant_id = t.{key}::text AND m.tenant_id <> %s",
                tenant,
            )
    assert failed(after.check("post-migration")) == set()


def test_several_tenants_are_judged_together(after: World) -> None:
    after.execute("UPDATE claims SET organization_id = NULL WHERE tenant_id IN ('alpha', 'beta', '100%')")
    results = after.check(
        "post-migration", tables=["public.claims"], tenants=["alpha", "beta", "O'Brien Local"]
    )
    result = one(results, "rows_have_organization", "public.claims")
    assert (result.count, result.rows_checked, result.tenant_id) == (6, 9, None)
    assert result.details["tenants"] == {"alpha": 3, "beta": 3}


def test_a_tenant_that_is_no_key_of_a_table_has_no_rows_there(after: World) -> None:
    results = after.check("post-migration", tables=["public.ledger", LINE_ITEMS], tenants=["beta"])
    assert failed(results) == set()
    assert {r.rows_checked for r in results if r.name == "rows_have_organization"} == {0}


def test_an_unmapped_tenant_is_judged_by_itself(before: World) -> None:
    before.execute("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')")
    result = one(before.check("pre-migration", tenants=["ghost"]), "tenants_have_mapping", "public.claims")
    assert (result.outcome, result.examples) == (Outcome.FAILED, ("ghost",))
    without_mapping = one(
        before.check("pre-migration", tables=[], tenants=["ghost"]), "organizations_exist", None
    )
    assert without_mapping.outcome is Outcome.ERRORED


def test_rows_without_a_tenant_are_no_matter_of_one_tenant(before: World) -> None:
    before.execute("UPDATE claims SET tenant_id = NULL WHERE id = 201")
    result = one(before.check("pre-migration", tenants=["alpha"]), "null_tenant_keys", "public.claims")
    assert result.outcome is Outcome.SKIPPED
    assert result.reason == "rows without a tenant belong to none of the tenants asked about"


def test_a_tenant_is_judged_by_the_circle_above_it(before: World) -> None:
    before.let_two_tenants_share()
    alpha, beta = organization_of("alpha"), organization_of("beta")
    before.execute("UPDATE organizations SET parent_id = id WHERE id = %s", alpha)
    before.execute("UPDATE organizations SET parent_id = %s WHERE id = %s", alpha, organization_of("100%"))
    for tenant, count in (("alpha", 1), ("alpha-two", 1), ("100%", 1), ("beta", 0)):
        result = one(before.check("pre-migration", tenants=[tenant]), "circular_organizations", None)
        assert (tenant, result.count) == (tenant, count)
    assert beta not in one(before.check("pre-migration"), "circular_organizations", None).examples


def test_a_collision_with_a_tenant_that_was_not_asked_about_is_found(before: World) -> None:
    before.let_two_tenants_share()
    before.execute("UPDATE profiles SET email = 'both@example.org' WHERE id IN (11, 21)")
    for tenant, count in (("alpha", 1), ("alpha-two", 1), ("beta", 0)):
        result = one(before.check("pre-migration", tenants=[tenant]), "unique_collisions", "public.profiles")
        assert result.count == count


def test_a_reference_to_a_tenant_that_was_not_asked_about_is_found(before: World) -> None:
    before.execute("UPDATE claims SET user_id = 31 WHERE id = 101")
    for tenant, count in (("alpha", 1), ("beta", 0)):
        results = before.check("pre-migration", tenants=[tenant], only=["references_stay_in_organization"])
        assert one(results, "references_stay_in_organization", "public.claims", "user_id").count == count


def test_pairs_that_are_not_recorded_as_migrated_are_not_judged(before: World) -> None:
    results = before.check("post-migration", tables=["public.claims"])
    assert failed(results) == {"pending_pairs"}
    result = one(results, "rows_have_organization", "public.claims")
    assert result.outcome is Outcome.SKIPPED
    assert result.reason == "no tenant in scope is recorded as migrated in public.claims"


def test_a_plan_without_tables_has_nothing_to_say_of_tables(after: World) -> None:
    empty = after.plan.model_copy(update={"tables": (), "relations": ()})
    for phase in ("pre-migration", "post-migration"):
        results = after.check(phase, plan=empty)  # type: ignore[arg-type]
        assert _tables(results) == {None}
        assert failed(results) == set()


@pytest.mark.newest_server_by_default
def test_keys_are_computed_once_for_each_type(after: World) -> None:
    """Not once for each table: a thousand tables of one type cost what one does."""
    ((database,),) = after.execute("SELECT current_database()")
    after.execute_unguarded(f"ALTER DATABASE \"{database}\" SET track_functions = 'all'")
    types = {table.tenant_column.quoted_type for table in after.plan.tables}
    with connect(after.url) as connection:
        run_checks_after(connection, after.plan, after.config)
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT sum(calls) FROM pg_stat_user_functions WHERE funcname = 'canonical_key'"
        ).fetchone()
    # 172 when each table computes its own. A tenant that can be no key of a table is asked about again.
    assert row is not None
    assert 0 < row[0] <= len(types) * len(TENANTS) * 3
