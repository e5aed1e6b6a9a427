"""Circles of organizations: found whatever their shape, in seconds in a hierarchy of any depth."""

from __future__ import annotations

import time

from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration_tests.integrity.world import World, one, organization_of

DEPTH = 10_000
SECONDS_MOST = 5.0
"""Measured 0.1 s; walking step by step without an index on the parent takes 8 s (F21)."""


def _id(number: int) -> str:
    return f"ffffffff-0000-4000-8000-{number:012d}"


def _circles(world: World, *, tenants: list[str] | None = None) -> CheckResult:
    results = world.check("pre-migration", tables=[], tenants=tenants, only=["circular_organizations"])
    return one(results, "circular_organizations", None)


def _add(world: World, *parents: tuple[int, int | None]) -> None:
    for number, _ in parents:
        world.execute("INSERT INTO organizations (id) VALUES (%s)", _id(number))
    for number, parent in parents:
        world.execute(
            "UPDATE organizations SET parent_id = %s WHERE id = %s",
            None if parent is None else _id(parent),
            _id(number),
        )


def _add_chain(world: World) -> None:
    """10,000 levels, without an index on the parent."""
    world.execute(
        "INSERT INTO organizations (id, parent_id) "
        "SELECT ('ffffffff-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, "
        "CASE WHEN i > 1 THEN ('ffffffff-0000-4000-8000-' || lpad((i - 1)::text, 12, '0'))::uuid END "
        f"FROM generate_series(1, {DEPTH}) i"
    )


def test_a_deep_hierarchy_without_a_circle_passes_in_seconds(before: World) -> None:
    _add_chain(before)
    started = time.monotonic()
    assert _circles(before).outcome is Outcome.PASSED
    assert time.monotonic() - started < SECONDS_MOST


def test_a_circle_at_the_top_of_a_deep_hierarchy_is_found_alone(before: World) -> None:
    """10,000 organizations lead to the circle; three are on it."""
    _add_chain(before)
    before.execute("UPDATE organizations SET parent_id = %s WHERE id = %s", _id(3), _id(1))
    started = time.monotonic()
    result = _circles(before)
    assert time.monotonic() - started < SECONDS_MOST
    assert (result.count, result.examples, result.details["circles"]) == (3, (_id(1), _id(2), _id(3)), 1)


def test_a_circle_of_all_is_counted_whole_with_ten_examples(before: World) -> None:
    _add_chain(before)
    before.execute("UPDATE organizations SET parent_id = %s WHERE id = %s", _id(DEPTH), _id(1))
    result = _circles(before)
    assert (result.count, len(result.examples), result.details["circles"]) == (DEPTH, 10, 1)


def test_several_circles_with_tails_are_told_apart(before: World) -> None:
    #   1 -> 2 -> 3 -> 1, 4 hangs below 1, 5 below 4;  6 <-> 7, 8 below 7;  9 is its own parent;  10 alone
    _add(before, (1, 2), (2, 3), (3, 1), (4, 1), (5, 4), (6, 7), (7, 6), (8, 7), (9, 9), (10, None))
    result = _circles(before)
    assert (result.count, result.details["circles"]) == (6, 3)
    assert result.examples == tuple(_id(n) for n in (1, 2, 3, 6, 7, 9))


def test_a_tenant_far_below_a_circle_is_judged_by_it(before: World) -> None:
    _add_chain(before)
    before.execute("UPDATE organizations SET parent_id = %s WHERE id = %s", _id(2), _id(1))
    before.execute(
        "UPDATE organizations SET parent_id = %s WHERE id = %s", _id(DEPTH), organization_of("beta")
    )
    assert _circles(before, tenants=["beta"]).count == 2
    assert _circles(before, tenants=["alpha"]).count == 0


def test_an_organization_whose_parent_is_gone_is_no_circle(before: World) -> None:
    before.execute_unguarded("UPDATE organizations SET parent_id = gen_random_uuid() WHERE parent_id IS NULL")
    assert _circles(before).outcome is Outcome.PASSED


def test_organizations_without_a_parent_column_are_skipped(before: World) -> None:
    plan = before.plan
    flat = plan.model_copy(
        update={"organizations": plan.organizations.model_copy(update={"parent_id_column": None})}
    )
    result = one(before.check("pre-migration", plan=flat, tables=[]), "circular_organizations", None)
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "the organizations have no parent column")
