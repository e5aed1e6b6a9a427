"""The engine's small parts by themselves: pace, units, states, failpoints, names in SQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.pace import Pace
from tenant_migration.backfill.states import RUN_TRANSITIONS, TRANSITIONS, State, set_pair_states
from tenant_migration.backfill.units import PageRange, RowList, halves
from tenant_migration.errors import ConfigurationError, Reaction, reaction_to
from tenant_migration_tests.backfill.conftest import World


def pace(**changes: object) -> Pace:
    return Pace(**{"first": 1_000, "most": 50_000, "target_ms": 100.0, "adaptive": True, **changes})  # type: ignore[arg-type]


def test_pace_aims_at_its_time_by_at_most_a_factor_of_two() -> None:
    fast = pace()
    fast.learn(1.0, work=1_000, waited=False)
    assert fast.size == 2_000
    slow = pace()
    slow.learn(10_000.0, work=1_000, waited=False)
    assert slow.size == 500
    right = pace()
    for _ in range(20):  # 0.05 ms a row: 2,000 rows take 100 ms
        right.learn(right.size * 0.05, work=right.size, waited=False)
    assert 1_900 <= right.size <= 2_100


def test_pace_learns_nothing_from_a_batch_that_waited() -> None:
    waited = pace()
    waited.learn(5_000.0, work=1_000, waited=True)
    assert waited.size == 1_000
    for _ in range(5):
        waited.learn(100.0, work=1_000, waited=False)
    waited.learn(5_000.0, work=1_000, waited=False)  # fifty times the usual: it waited for something
    assert waited.size == 1_000
    waited.learn(5_000.0, work=1_000, waited=False)  # twice in a row: that is how it is now
    assert waited.size == 500


def test_pace_keeps_its_bounds_and_stands_still_when_told() -> None:
    bounded = pace(most=1_500)
    bounded.learn(1.0, work=1, waited=False)
    assert bounded.size == 1_500
    tiny = pace(first=1)
    tiny.learn(10_000.0, work=1, waited=False)
    tiny.halve()
    assert tiny.size == 1
    fixed = pace(adaptive=False)
    fixed.learn(1.0, work=1, waited=False)
    fixed.halve()
    assert fixed.size == 1_000


def test_halves_cover_the_unit_once() -> None:
    assert halves(PageRange(3, 8, wave=2, waves=16)) == (PageRange(3, 5, 2, 16), PageRange(5, 8, 2, 16))
    assert halves(RowList(("a", "b", "c"))) == (RowList(("a",)), RowList(("b", "c")))
    assert halves(PageRange(3, 4)) is None
    assert halves(RowList(("a",))) is None


def test_transitions_are_those_of_the_database(bare_world: World) -> None:
    found = bare_world.sql("SELECT from_state, to_state, for_pairs FROM tenant_migration.state_transitions")
    pairs = {(State(a), State(b)) for a, b, for_pairs in found if for_pairs}
    runs = {(State(a), State(b)) for a, b, for_pairs in found if not for_pairs}
    assert pairs == {(a, b) for a, many in TRANSITIONS.items() for b in many}
    assert runs == set(RUN_TRANSITIONS)
    assert set(TRANSITIONS) == set(State)


def test_many_pairs_change_at_once_each_with_actor_and_reason(world: World) -> None:
    world.sql("CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text)")
    plan = world.plan()
    run = world.run(plan)
    numbers = list(run.tenants.values())
    for state in (State.RUNNING, State.VERIFYING, State.COMPLETED):
        set_pair_states(
            world.connection,
            table_id=world.table_id("public.claims"),
            tenant_numbers=numbers,
            state=state,
            actor="ann",
            reason=f"because {state.value}",
            run_id=run.run_id,
            rows_migrated=dict.fromkeys(numbers, 5),
        )
    log = world.sql(
        "SELECT from_state, to_state, actor, reason, count(*) FROM tenant_migration.state_log"
        " WHERE tenant_number IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY min(log_id)"
    )
    assert log == [
        ("pending", "running", "ann", "because running", len(numbers)),
        ("running", "verifying", "ann", "because verifying", len(numbers)),
        ("verifying", "completed", "ann", "because completed", len(numbers)),
    ]
    assert world.sql("SELECT DISTINCT migration_status, record_count FROM public.tenant_org_mappings") == [
        ("completed", 5)
    ]


def test_reactions_to_what_the_server_says() -> None:
    assert reaction_to("40P01") is Reaction.RETRY
    assert reaction_to("57014") is Reaction.SPLIT
    assert reaction_to("23514") is Reaction.QUARANTINE
    assert reaction_to("42501") is Reaction.STOP
    assert reaction_to("53100") is Reaction.STOP
    assert reaction_to(None, connection_lost=True) is Reaction.RETRY


def test_a_failpoint_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "nosuch")
    with pytest.raises(ConfigurationError, match="nosuch"):
        failpoints.reach(failpoints.BATCH_AFTER_COMMIT)
    monkeypatch.setenv(failpoints.VARIABLE, f"{failpoints.BATCH_AFTER_COMMIT}:x")
    with pytest.raises(ConfigurationError):
        failpoints.reach(failpoints.BATCH_AFTER_COMMIT)
    monkeypatch.setenv(failpoints.VARIABLE, f"{failpoints.RUN_CREATED}:99")
    failpoints.reach(failpoints.BATCH_AFTER_COMMIT)


def test_every_failpoint_is_reached_somewhere() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in Path(failpoints.__file__).parents[1].rglob("*.py")
    )
    unused = [
        name
        for name, value in vars(failpoints).items()
        if value in failpoints.NAMES and f"reach(failpoints.{name})" not in source
    ]
    assert unused == []
