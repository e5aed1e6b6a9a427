"""Every check of the registry: the healthy database passes it, then its planted defect does not."""

from __future__ import annotations

from fnmatch import fnmatchcase

import psycopg
import pytest

from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.integrity.registry import CHECKS
from tenant_migration_tests.integrity.corruptions import CORRUPTIONS
from tenant_migration_tests.integrity.defects import DEFECTS as FIRST_DEFECTS
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.defects_after import DEFECTS as DEFECTS_AFTER
from tenant_migration_tests.integrity.defects_before import DEFECTS as DEFECTS_BEFORE
from tenant_migration_tests.integrity.world import World, failed, one

DEFECTS = (*FIRST_DEFECTS, *DEFECTS_BEFORE, *DEFECTS_AFTER)


def test_every_check_has_a_planted_defect() -> None:
    planted = (*DEFECTS, *CORRUPTIONS)
    assert {(check.name, check.phase) for check in CHECKS} == {(d.check, d.phase) for d in planted}


def test_a_check_is_named_once_in_a_phase() -> None:
    names = [(check.name, check.phase) for check in CHECKS]
    assert len(names) == len(set(names))


def _of(phase: Phase) -> list[Defect]:
    return [defect for defect in DEFECTS if defect.phase == phase]


@pytest.mark.parametrize("defect", _of("pre-migration"), ids=str)
def test_a_defect_before_is_caught_by_its_check_alone(before: World, defect: Defect) -> None:
    assert_caught(before, defect)


@pytest.mark.parametrize("defect", _of("post-migration"), ids=str)
def test_a_defect_after_is_caught_by_its_check_alone(after: World, defect: Defect) -> None:
    assert_caught(after, defect)


def assert_caught(world: World, defect: Defect) -> list[CheckResult]:
    """Plant the defect in a database that passed its check; return what all checks say then."""
    defect.prepare(world)
    healthy = world.check(defect.phase, only=[defect.check])
    assert failed(healthy) == set()
    assert one(healthy, defect.check, defect.table, defect.column).outcome is Outcome.PASSED

    defect.plant(world)

    results = world.check(defect.phase)
    caught = one(results, defect.check, defect.table, defect.column)
    assert caught.outcome is Outcome.FAILED
    assert caught.count == defect.count
    assert len(caught.examples) == len(defect.examples)
    for example, expected in zip(caught.examples, defect.examples, strict=True):
        assert fnmatchcase(example, expected.replace("[", "[[]")), caught.examples
    assert caught.details.get("tenants") == defect.tenants
    if defect.blinds:
        errored = [result for result in results if result.outcome is Outcome.ERRORED]
        assert defect.table in {result.table for result in errored}
        assert {result.sqlstate for result in errored} == {"42501"}
        results = [result for result in results if result.outcome is not Outcome.ERRORED]
    assert failed(results) == {defect.check} | defect.also
    _assert_reproducible(world, caught.reproduce)
    return results


def _assert_reproducible(world: World, query: str | None) -> None:
    """What a person is told to run finds something."""
    assert query is not None
    with psycopg.connect(world.url, options="-c default_transaction_read_only=on") as person:
        assert person.execute(query.encode()).fetchall()
