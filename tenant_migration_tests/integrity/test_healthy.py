"""A healthy database passes, before and after; nothing passes without having looked."""

from __future__ import annotations

from tenant_migration.integrity.model import Outcome
from tenant_migration.integrity.report import build_report
from tenant_migration_tests.integrity.world import LINE_ITEMS, TABLES, World, failed, one


def test_a_healthy_database_passes_before(before: World) -> None:
    results = before.check("pre-migration")
    assert failed(results) == set()
    assert build_report(results, "pre-migration")["status"] == "pass"
    assert {result.table for result in results} == {None, *TABLES}


def test_a_healthy_database_passes_after(after: World) -> None:
    results = after.check("post-migration")
    assert failed(results) == set()
    assert build_report(results, "post-migration")["status"] == "pass"
    for table, rows in {
        "public.claims": 18,
        "public.readings": 12,
        "public.ledger": 6,
        LINE_ITEMS: 8,
    }.items():
        for name in ("rows_have_organization", "organization_matches_mapping", "journal_matches_rows"):
            result = one(results, name, table)
            assert (result.outcome, result.rows_checked, result.expected) == (Outcome.PASSED, rows, rows)


def test_an_empty_table_passes_since_nothing_was_expected(after: World) -> None:
    result = one(after.check("post-migration"), "rows_have_organization", "public.archive")
    assert (result.outcome, result.rows_checked, result.expected) == (Outcome.PASSED, 0, 0)
