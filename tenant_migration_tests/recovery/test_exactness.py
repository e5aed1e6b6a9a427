"""Rollback beside an application that writes all the time: the table ends as what the application wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Selection
from tenant_migration.backfill.runs import finish_run, start_run
from tenant_migration.backfill.states import State
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.recovery.results import RollbackResult
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of
from tenant_migration_tests.recovery.live_application import WRONG_ROWS, Writers, create

TENANTS = ("alpha", "beta", "gamma", "O'Brien")
ROWS = 1_500
WORTH_A_TEST = 100
"""Transactions of the application, and rows restored: with fewer the one was hardly beside the other."""
SEED_VARIABLE = "TENANT_MIGRATION_TEST_SEED"
FIRST_SEED = int(os.environ.get(SEED_VARIABLE, "1"))


@pytest.fixture
def live(database: str) -> Iterator[World]:
    with connect(database) as connection:
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        world = World(database, connection, {"schemas": {"include": ["public"]}})
        install(connection, world.config)
        world.add_tenants(TENANTS)
        create(connection, TENANTS, ROWS)
        yield world


def migrate(world: World) -> int:
    plan = world.plan(batch_size=50, adaptive=False, on_existing_value="keep", retry_attempts=100)
    run = start_run(world.connection, plan, actor=ACTOR)
    result = backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
    finish_run(world.connection, run, State.COMPLETED)
    return result.rows_migrated


def roll_back(world: World, tenants: list[str] | None = None) -> RollbackResult:
    plan = world.plan(batch_size=50, adaptive=False, on_existing_value="keep", retry_attempts=100)
    run = start_rollback(world.connection, plan, selection=Selection(tenants=tenants), actor=ACTOR)
    result = roll_back_table(world.connection, plan, table_of(plan, "public.claims"), run, tenants=tenants)
    finish_run(world.connection, run, State.ROLLED_BACK)
    return result


def organizations_of(world: World) -> list[str]:
    return [row[0] for row in world.sql("SELECT id::text FROM public.organizations ORDER BY name")]


@pytest.mark.parametrize(
    ("cycles", "seed"),
    [
        (1, FIRST_SEED),
        pytest.param(2, FIRST_SEED, marks=pytest.mark.faults),
        pytest.param(2, FIRST_SEED + 1, marks=pytest.mark.faults),
    ],
)
def test_nothing_of_the_application_is_lost_and_nothing_of_ours_stays(
    live: World, cycles: int, seed: int
) -> None:
    migrated = restored = changed = 0
    with Writers(live.url, TENANTS, organizations_of(live), seed) as writers:
        for _ in range(cycles):
            migrated += migrate(live)
            by_tenant = roll_back(live, ["beta", "O'Brien"])
            everything = roll_back(live)
            for result in (by_tenant, everything):
                assert result.rows_expected == (
                    result.rows_restored + result.rows_changed + result.rows_deleted + result.rows_failed
                )
                restored += result.rows_restored
                changed += result.rows_changed
    assert live.sql(WRONG_ROWS) == [], f"seed {seed}"
    # It really was beside us, and we really did something.
    assert writers.transactions > WORTH_A_TEST
    assert migrated > cycles * ROWS / 2
    assert restored > WORTH_A_TEST
    assert changed > 0


def test_without_an_application_everything_comes_back(live: World) -> None:
    migrated = migrate(live)
    assert live.sql(WRONG_ROWS) != []
    result = roll_back(live)
    assert migrated == ROWS == result.rows_restored
    assert live.sql(WRONG_ROWS) == []
