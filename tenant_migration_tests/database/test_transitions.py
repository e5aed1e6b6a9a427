"""States follow each other only as the one table says, and every change is written down."""

from __future__ import annotations

import time

import psycopg
import pytest

from tenant_migration_tests.database.scene import Scene

STATES = {
    "pending", "validating", "running", "paused", "throttled", "sweeping", "verifying", "completed", "failed",
    "blocked", "cancelled", "rolling_back", "rolled_back",
}  # fmt: skip


def transitions(scene: Scene, *, pairs: bool) -> set[tuple[str, str]]:
    return {
        (row[0], row[1])
        for row in scene.rows(
            "SELECT from_state, to_state FROM tenant_migration.state_transitions WHERE for_pairs OR NOT %s",
            pairs,
        )
    }


def path_to(state: str, allowed: set[tuple[str, str]]) -> list[str]:
    """Return a shortest way from pending to a state."""
    paths: dict[str, list[str]] = {"pending": []}
    queue = ["pending"]
    for here in queue:
        for came_from, there in sorted(allowed):
            if came_from == here and there not in paths:
                paths[there] = [*paths[here], there]
                queue.append(there)
    return paths[state]


def test_every_state_can_be_reached_and_none_leads_back_to_pending(scene: Scene) -> None:
    allowed = transitions(scene, pairs=True)
    assert {state for pair in transitions(scene, pairs=False) for state in pair} == STATES
    assert all(path_to(state, allowed) for state in STATES - {"pending"})
    assert not [pair for pair in allowed if pair[1] == "pending"]


def test_pairs_are_verified_before_they_are_completed(scene: Scene) -> None:
    allowed = transitions(scene, pairs=True)
    assert {pair for pair in allowed if pair[1] == "completed"} == {("verifying", "completed")}
    assert {pair for pair in allowed if pair[1] == "rolled_back"} == {("rolling_back", "rolled_back")}


def test_the_database_holds_to_the_table_for_every_pair_of_states(scene: Scene) -> None:
    allowed = transitions(scene, pairs=True)
    (table_id,) = scene.manage("claims")
    numbers = iter(scene.map(*[f"t{n}" for n in range(len(STATES) ** 2)]).values())
    state_now = "SELECT state FROM tenant_migration.table_states WHERE tenant_number = %s"
    for was in sorted(STATES):
        for becomes in sorted(STATES - {was}):
            number = next(numbers)
            scene.pair(table_id, number, *path_to(was, allowed))
            if (was, becomes) in allowed:
                scene.pair(table_id, number, becomes)
                assert scene.value(state_now, number) == becomes
                continue
            with pytest.raises(psycopg.DatabaseError, match=f"state {becomes} cannot follow {was}") as raised:
                scene.pair(table_id, number, becomes)
            assert raised.value.sqlstate == "TM003"
            assert scene.value(state_now, number) == was


@pytest.mark.parametrize("table", ["runs", "table_runs"])
def test_runs_hold_to_it_too(scene: Scene, table: str) -> None:
    allowed = transitions(scene, pairs=False)
    (table_id,) = scene.manage("claims")
    change = f"UPDATE tenant_migration.{table} SET state = %s WHERE run_id = %s"
    for was in sorted(STATES):
        for becomes in sorted(STATES - {was}):
            run_id = scene.run()
            if table == "table_runs":
                scene.execute(
                    "INSERT INTO tenant_migration.table_runs (run_id, table_id, actor) VALUES (%s, "
                    "%s, 'anna')",
                    run_id,
                    table_id,
                )
            for state in path_to(was, allowed):
                scene.execute(change, state, run_id)
            if (was, becomes) in allowed:
                scene.execute(change, becomes, run_id)
                continue
            with pytest.raises(psycopg.DatabaseError, match=f"state {becomes} cannot follow {was}"):
                scene.execute(change, becomes, run_id)


def test_nothing_begins_in_the_middle(scene: Scene) -> None:
    (table_id,) = scene.manage("claims")
    (number,) = scene.map("o'brien").values()
    for state in ("completed", "rolled_back", "nonsense", "sweeping"):
        with pytest.raises(
            psycopg.DatabaseError, match=f"table public.claims, tenant 'o''brien': state {state}"
        ):
            scene.execute(
                "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, actor) "
                "VALUES (%s, %s, %s, 'a')",
                table_id,
                number,
                state,
            )
        with pytest.raises(psycopg.DatabaseError, match="cannot follow pending"):
            scene.execute(
                "INSERT INTO tenant_migration.runs (kind, state, actor, tool_version, host, process_id) "
                "VALUES ('migrate', %s, 'anna', 't', 'h', 1)",
                state,
            )
    assert scene.rows("SELECT * FROM tenant_migration.table_states") == []


def test_every_change_is_logged_with_actor_and_reason(scene: Scene) -> None:
    (table_id,) = scene.manage("claims")
    (number,) = scene.map("acme").values()
    run_id = scene.run()
    scene.execute("UPDATE tenant_migration.runs SET state = 'running' WHERE run_id = %s", run_id)
    scene.execute(
        "INSERT INTO tenant_migration.table_runs (run_id, table_id, state, actor, reason) "
        "VALUES (%s, %s, 'running', 'anna', 'begins')",
        run_id,
        table_id,
    )
    scene.execute(
        "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, run_id, actor) "
        "VALUES (%s, %s, 'running', %s, 'anna') "
        "ON CONFLICT (table_id, tenant_number) DO UPDATE SET state = excluded.state",
        table_id,
        number,
        run_id,
    )
    scene.execute("UPDATE tenant_migration.table_states SET rows_migrated = 5")  # no change of state: no line
    scene.execute(
        "UPDATE tenant_migration.table_states SET state = 'failed', actor = 'bob', reason = 'no space'"
    )
    assert scene.rows(
        "SELECT run_id, table_id, tenant_number, from_state, to_state, actor, reason FROM "
        "tenant_migration.state_log "
        "ORDER BY log_id"
    ) == [
        (run_id, None, None, "pending", "running", "anna", None),
        (run_id, table_id, None, "pending", "running", "anna", "begins"),
        (run_id, table_id, number, "pending", "running", "anna", None),
        (run_id, table_id, number, "running", "failed", "bob", "no space"),
    ]


def test_a_pair_cannot_become_another_one(scene: Scene) -> None:
    (table_id,) = scene.manage("claims")
    numbers = list(scene.map("acme", "globex").values())
    scene.pair(table_id, numbers[0], "running")
    with pytest.raises(psycopg.DatabaseError, match="cannot follow"):
        scene.execute("UPDATE tenant_migration.table_states SET tenant_number = %s", numbers[1])


def test_a_pair_with_live_rows_is_not_forgotten(scene: Scene) -> None:
    (table_id,) = scene.manage("claims")
    numbers = scene.map("acme", "globex")
    scene.pair(table_id, numbers["acme"], "running", rows=3)
    scene.pair(table_id, numbers["globex"], "running")
    with pytest.raises(psycopg.DatabaseError, match="3 rows carry"):
        scene.execute("DELETE FROM tenant_migration.table_states")
    assert scene.value("SELECT count(*) FROM tenant_migration.table_states") == 2
    scene.execute("DELETE FROM tenant_migration.table_states WHERE tenant_number = %s", numbers["globex"])
    assert scene.rows(
        "SELECT from_state, to_state, reason FROM tenant_migration.state_log ORDER BY log_id DESC LIMIT 1"
    ) == [("running", "pending", "forgotten")]


def test_forty_thousand_pairs_change_in_one_statement(scene: Scene) -> None:
    table_ids = scene.manage(*[f"t{n}" for n in range(8)])
    org = scene.organization()
    scene.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id) SELECT 't' || g, %s FROM "
        "generate_series(1, 5000) g",
        org,
    )
    scene.execute(
        "INSERT INTO tenant_migration.table_states (table_id, tenant_number, actor) "
        "SELECT t, n.tenant_number, 'anna' FROM unnest(%s::int[]) t, tenant_migration.tenants n",
        table_ids,
    )
    started = time.monotonic()
    for state in ("running", "verifying", "completed"):
        assert scene.execute("UPDATE tenant_migration.table_states SET state = %s", state) == 40_000
    scene.execute(
        "SELECT tenant_migration.refresh_mapping_status(ARRAY(SELECT tenant_number FROM "
        "tenant_migration.tenants))"
    )
    assert time.monotonic() - started < 20
    assert scene.value("SELECT count(*) FROM tenant_migration.state_log") == 120_000
    assert scene.rows("SELECT migration_status, count(*) FROM tenant_org_mappings GROUP BY 1") == [
        ("completed", 5000)
    ]
