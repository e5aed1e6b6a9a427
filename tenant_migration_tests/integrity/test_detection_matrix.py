"""The detection matrix: each of fifteen corruptions is caught by the check that is there for it.

No silent pass: what else fails is named beforehand, every check of the table still looked at rows, and the
verdict of each tenant says the same as the checks.
"""

from __future__ import annotations

import pytest

from tenant_migration.integrity.model import Outcome
from tenant_migration.integrity.report import build_report
from tenant_migration_tests.integrity.corruptions import CORRUPTIONS, in_its_batch
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.test_planted_defects import assert_caught
from tenant_migration_tests.integrity.world import LINE_ITEMS, World, failed, one


def test_there_are_fifteen() -> None:
    assert len(CORRUPTIONS) == len({defect.label for defect in CORRUPTIONS}) == 15


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.label)
def test_a_corruption_is_caught(after: World, corruption: Defect) -> None:
    results = assert_caught(after, corruption)

    report = build_report(results, "post-migration")
    caught = one(results, corruption.check, corruption.table, corruption.column)
    assert report["status"] == ("fail" if caught.severity == "critical" else "warning")
    of_table = [result for result in results if result.table == corruption.table]
    passed = {result.name for result in of_table if result.outcome is Outcome.PASSED}
    assert passed.isdisjoint({corruption.check, *corruption.also})
    for result in of_table:
        looked = result.rows_checked > 0 or not result.expected
        assert looked, f"{result.name} passed without a look"


@pytest.mark.parametrize("table", ["public.claims", LINE_ITEMS, "public.ledger"])
def test_rows_written_in_their_batch_without_a_change_pass(after: World, table: str) -> None:
    """The control of those that are planted in this way."""
    if table == "public.ledger":
        after.execute_unguarded("UPDATE ledger SET entry = entry")
    else:
        in_its_batch(after, table, "SELECT")
    results = after.check("post-migration")
    assert failed(results) == set()
    content = one(results, "content_unchanged", table)
    assert (content.outcome, content.rows_checked) == (Outcome.PASSED, content.expected)
