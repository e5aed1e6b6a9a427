"""TRUNCATE: what was there is gone, and what comes later under the same keys is not ours."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill.results import Progress
from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.recovery.conftest import roll_back
from tenant_migration_tests.recovery.scenes import checks_of, migrate_all, take_back

RELOAD = "CREATE TEMPORARY TABLE kept AS TABLE claims; TRUNCATE claims; INSERT INTO claims TABLE kept"
PARTITIONED = """
CREATE TABLE public.claims ({columns}) PARTITION BY RANGE (id);
CREATE TABLE public.claims_a PARTITION OF claims FOR VALUES FROM (0) TO (100);
CREATE TABLE public.claims_b PARTITION OF claims FOR VALUES FROM (100) TO (1000);
"""
KEYED = "id int PRIMARY KEY, tenant_id text"
KEYLESS = "id int, tenant_id text"


def filled(world: World) -> list[int]:
    return [row[0] for row in world.sql("SELECT id FROM claims WHERE organization_id IS NOT NULL ORDER BY 1")]


def test_rows_that_are_loaded_again_under_the_same_keys_are_the_applications(
    claims: Callable[[int], World],
) -> None:
    world = claims(40)
    migrate_all(world)
    before = filled(world)
    world.sql(RELOAD)
    world.sql("DELETE FROM claims WHERE id = 7")
    outcome = take_back(world, verify=True)
    assert outcome.state == "rolled_back"
    result = outcome.result
    assert result is not None
    assert (result.rows_expected, result.rows_restored) == (len(before), 0)
    assert (result.rows_changed, result.rows_deleted) == (len(before) - 1, 1)
    assert filled(world) == [number for number in before if number != 7], "what was loaded stays"
    assert [check.name for check in checks_of(outcome).values() if check.blocks] == []


def test_what_is_migrated_after_it_is_ours_again(claims: Callable[[int], World]) -> None:
    world = claims(40)
    world.migrate("public.claims", batch_size=10, adaptive=False)
    world.sql(RELOAD)
    world.sql("UPDATE claims SET organization_id = NULL WHERE id >= 20")
    again = world.migrate("public.claims", batch_size=10, adaptive=False)
    result = roll_back(world, "public.claims")
    assert result.rows_restored == again.rows_migrated == 21
    assert result.rows_changed == 39
    assert max(filled(world)) == 19


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "keyless"])
def test_of_a_partition_only_its_own_rows_are_gone(world: World, keyed: bool) -> None:
    world.sql(PARTITIONED.format(columns=KEYED if keyed else KEYLESS))
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 150) i")
    world.migrate("public.claims")
    world.sql("TRUNCATE claims_a")
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (51, 0, 99)
    assert (result.rows_failed, filled(world)) == (0, [])


def test_a_partition_that_came_since_is_watched_by_the_next_run(world: World) -> None:
    world.sql(PARTITIONED.format(columns=KEYED))
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 150) i")
    world.migrate("public.claims")
    world.sql("CREATE TABLE public.claims_c PARTITION OF claims FOR VALUES FROM (1000) TO (2000)")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1001, 1010) i")
    created = world.migrate("public.claims").created
    assert created == ("trigger tenant_migration_claim_truncate on public.claims_c",)
    world.sql(
        "CREATE TEMPORARY TABLE kept AS TABLE claims_c; TRUNCATE claims_c; INSERT INTO claims TABLE kept"
    )
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_changed) == (150, 10)
    assert filled(world) == list(range(1001, 1011))


def test_the_whole_of_a_partitioned_table(world: World) -> None:
    world.sql(PARTITIONED.format(columns=KEYED))
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 150) i")
    world.migrate("public.claims")
    world.sql(RELOAD)
    assert roll_back(world, "public.claims").rows_changed == 150
    assert filled(world) == list(range(1, 151))


def test_rows_without_a_key_are_gone_and_none_that_came_since_is_taken_for_them(world: World) -> None:
    world.sql(f"CREATE TABLE public.claims ({KEYLESS})")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 50) i")
    world.migrate("public.claims")
    world.sql(RELOAD)
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_deleted, result.rows_failed) == (0, 50, 0)
    assert len(filled(world)) == 50
    assert result.left_alone[0].message == "the application emptied the table (TRUNCATE)"


def test_a_truncate_that_is_rolled_back_is_none(claims: Callable[[int], World]) -> None:
    world = claims(40)
    migrated = world.migrate("public.claims")
    with psycopg.connect(world.url) as application:
        application.execute("TRUNCATE claims")
        application.rollback()
    assert roll_back(world, "public.claims").rows_restored == migrated.rows_migrated


@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
def test_a_reload_between_two_steps_of_a_rollback_is_waited_for_and_seen(
    world: World, partitioned: bool
) -> None:
    """Its transaction is open while we come to the table: the next step waits for its lock, then knows."""
    world.sql(PARTITIONED.format(columns=KEYED) if partitioned else f"CREATE TABLE public.claims ({KEYED})")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 90) i")
    settings = {"batch_size": 30, "adaptive": False, "lock_timeout_ms": 10_000}
    world.migrate("public.claims", **settings)
    application = psycopg.connect(world.url)
    threads: list[threading.Thread] = []
    restored: list[int] = []

    def reload(event: Progress) -> None:
        if threads or not event.batch_rows:
            return
        restored.append(event.rows_done)
        application.execute("CREATE TEMPORARY TABLE kept AS TABLE claims")
        application.execute("TRUNCATE claims_a" if partitioned else "TRUNCATE claims")
        application.execute("INSERT INTO claims SELECT * FROM kept")
        threads.append(threading.Timer(0.5, application.commit))
        threads[0].start()

    result = roll_back(world, "public.claims", progress=reload, **settings)
    for thread in threads:
        thread.join()
    application.close()
    assert 0 < restored[0] < 90
    assert (result.rows_restored, result.rows_changed) == (restored[0], 90 - restored[0])
    assert len(filled(world)) == 90 - restored[0], "what was loaded has our value, and is not ours"
