"""Values that were there before the run: recorded kept ones are right, anything else is not."""

from __future__ import annotations

from typing import Any

import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.model import Outcome
from tenant_migration_tests.integrity.world import SETTINGS, World, failed, migrate, one, organization_of

_OTHER = organization_of("O'Brien Local")
_THIRD = organization_of("100%")


def _migrated_with(world: World, on_existing_value: str) -> World:
    """Three rows have another organization before the run: two claims, their profile, a row without a key."""
    for table, condition in (
        ("claims", "id IN (101, 301)"),
        ("profiles", "id = 31"),
        ("ledger", "tenant_id = 101 AND entry = 'entry 1'"),
    ):
        world.execute(f"ALTER TABLE {table} ADD COLUMN organization_id uuid")
        world.execute(f"UPDATE {table} SET organization_id = %s WHERE {condition}", _OTHER)
    tables = {name: {"on_existing_value": on_existing_value} for name in ("claims", "profiles", "ledger")}
    settings: dict[str, Any] = {**SETTINGS, "tables": tables}
    assert MigrationConfig.model_validate(settings)
    migrate(world.url, settings)
    world.settings = settings
    return world


def test_kept_values_are_right(before: World) -> None:
    world = _migrated_with(before, "keep")
    assert world.execute(
        "SELECT count(*) FROM claims WHERE organization_id = %s AND tenant_id <> %s", _OTHER, "O'Brien Local"
    ) == [(2,)]
    results = world.check("post-migration")
    assert failed(results) == set()
    claims = one(results, "nothing_lost", "public.claims")
    assert (claims.rows_checked, claims.expected) == (18, 18)
    assert one(results, "journal_matches_rows", "public.claims").rows_checked == 16


def test_a_kept_value_that_changed_is_wrong(before: World) -> None:
    world = _migrated_with(before, "keep")
    world.execute("UPDATE claims SET organization_id = %s WHERE id = 101", _THIRD)
    results = world.check("post-migration")
    result = one(results, "organization_matches_mapping", "public.claims")
    assert (result.count, result.examples, result.details["tenants"]) == (1, ("101",), {"alpha": 1})


def test_another_row_with_the_same_value_is_wrong(before: World) -> None:
    """A kept value is that row's own: it excuses no other row of the tenant."""
    world = _migrated_with(before, "keep")
    world.execute(
        "UPDATE claims SET organization_id = %s, user_id = NULL, reviewer_id = NULL WHERE id = 102", _OTHER
    )
    results = world.check("post-migration")
    assert failed(results) == {"organization_matches_mapping", "content_changed_since"}
    assert one(results, "organization_matches_mapping", "public.claims").examples == ("102",)


def test_a_kept_row_that_is_gone_is_missed(before: World) -> None:
    world = _migrated_with(before, "keep")
    world.execute("DELETE FROM claims WHERE id = 301")
    results = world.check("post-migration")
    assert failed(results) == {"nothing_lost"}
    assert one(results, "nothing_lost", "public.claims").examples == ("301",)


def test_kept_values_without_a_key_are_counted(before: World) -> None:
    world = _migrated_with(before, "keep")
    world.execute(
        "UPDATE ledger SET extra = '{}'"
    )  # every row moves: no place that was recorded is right any more
    assert failed(world.check("post-migration")) == {"content_changed_since"}
    world.execute(
        "UPDATE ledger SET organization_id = %s WHERE tenant_id = 101 AND entry = 'entry 2'", _THIRD
    )
    results = world.check("post-migration")
    assert failed(results) == {"organization_matches_mapping", "content_changed_since"}
    result = one(results, "organization_matches_mapping", "public.ledger")
    assert (result.count, result.details["tenants"]) == (1, {"101": 1})


@pytest.mark.parametrize("tenants", [None, ["alpha", "beta"]])
def test_overwritten_values_are_the_mapped_ones(before: World, tenants: list[str] | None) -> None:
    world = _migrated_with(before, "overwrite")
    results = world.check("post-migration", tenants=tenants)
    assert failed(results) == set()
    journal = one(results, "journal_matches_rows", "public.claims")
    assert (journal.outcome, journal.rows_checked) == (Outcome.PASSED, 18 if tenants is None else 6)


def test_a_row_that_was_overwritten_twice_is_journaled_twice_and_right(before: World) -> None:
    world = _migrated_with(before, "overwrite")
    world.execute("UPDATE claims SET organization_id = %s WHERE id = 101", _OTHER)
    migrate(world.url, world.settings)
    results = world.check("post-migration")
    assert failed(results) == set()
    assert one(results, "journal_matches_rows", "public.claims").rows_checked == 19


def test_a_journal_whose_batches_were_undone_counts_no_more(after: World) -> None:
    journal = f"tenant_migration.journal_{after.table_id('public.claims')}"
    after.execute(f"UPDATE {journal} SET closed_at = now()")
    result = one(after.check("post-migration"), "journal_matches_rows", "public.claims")
    assert (result.outcome, result.count, result.rows_checked, result.expected) == (Outcome.FAILED, 18, 0, 18)


def test_what_the_application_changed_is_counted(after: World) -> None:
    after.execute(
        "UPDATE claims SET organization_id = %s, user_id = NULL, reviewer_id = NULL WHERE id = 101", _OTHER
    )
    after.execute("DELETE FROM claims WHERE id IN (102, 201)")
    results = after.check("post-migration")
    journal = one(results, "journal_matches_rows", "public.claims")
    assert (journal.outcome, journal.rows_checked) == (Outcome.PASSED, 18)
    assert journal.details == {"tenants": {}, "changed_by_application": 1, "gone": 2}
    assert failed(results) == {"organization_matches_mapping", "nothing_lost", "content_changed_since"}


def test_rows_that_the_application_wrote_itself_are_none_of_the_journals(after: World) -> None:
    """They are right without being journaled; the journaled ones are still looked up, one by one."""
    after.execute("INSERT INTO claims VALUES (150, 'alpha', 11, 12, '', %s)", organization_of("alpha"))
    results = after.check("post-migration")
    assert failed(results) == set()
    assert one(results, "rows_have_organization", "public.claims").rows_checked == 19
    assert one(results, "journal_matches_rows", "public.claims").rows_checked == 18
    after.execute("DELETE FROM claims WHERE id = 101")
    results = after.check("post-migration")
    assert failed(results) == {"nothing_lost"}, "the number of rows is right, the rows are not"
