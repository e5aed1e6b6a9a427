"""Other workers, a live application, people who press stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Progress, TableResult
from tenant_migration.database.connection import connect
from tenant_migration.errors import LeaseHeld, LeaseLost, RunStopped
from tenant_migration_tests.backfill.conftest import TENANTS, World, table_of


def test_two_workers_on_one_table_write_each_row_once(claims: Callable[[int], World]) -> None:
    world = claims(3_000)
    plan = world.plan(batch_size=100, lease_wait_s=60)
    results: list[TableResult] = []

    def work() -> None:
        with connect(world.url) as connection:
            run = World(world.url, connection).run(plan)
            results.append(backfill_table(connection, plan, table_of(plan, "public.claims"), run))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.rows_migrated for result in results) == [0, 2_880]
    world.assert_journal_is_exact("public.claims", before=set())


def test_a_second_worker_fails_naming_the_holder(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    plan = world.plan(lease_wait_s=0)
    first, second = world.run(plan), world.run(plan)
    refused: list[str] = []

    def intrude(event: Progress) -> None:
        if refused or not event.rows_done:
            return
        with connect(world.url) as connection, pytest.raises(LeaseHeld) as error:
            backfill_table(connection, plan, table_of(plan, "public.claims"), second)
        refused.append(str(error.value))

    backfill_table(world.connection, plan, table_of(plan, "public.claims"), first, progress=intrude)
    assert f"run {first.run_id} of tester" in refused[0]
    assert "public.claims" in refused[0]


def test_single_tenants_of_one_table_run_side_by_side_but_not_beside_all(
    claims: Callable[[int], World],
) -> None:
    world = claims(1_000)
    plan = world.plan(lease_wait_s=0)
    table = table_of(plan, "public.claims")
    alpha, beta, everyone = world.run(plan, ["alpha"]), world.run(plan, ["beta"]), world.run(plan)
    inner: list[TableResult] = []

    def beside(event: Progress) -> None:
        if inner or not event.rows_done:
            return
        with connect(world.url) as connection:
            inner.append(backfill_table(connection, plan, table, beta))
            with pytest.raises(LeaseHeld):
                backfill_table(connection, plan, table, everyone)

    outer = backfill_table(world.connection, plan, table, alpha, progress=beside)
    assert inner[0].rows_by_tenant["beta"] == inner[0].rows_migrated > 0
    assert outer.rows_by_tenant["alpha"] == outer.rows_migrated > 0
    world.assert_journal_is_exact("public.claims", before=set())


def test_a_run_whose_lease_was_taken_over_writes_nothing_more(claims: Callable[[int], World]) -> None:
    world = claims(3_000)
    plan = world.plan(batch_size=100, adaptive=False)
    run = world.run(plan)
    at_theft: list[int] = []
    with psycopg.connect(world.url, autocommit=True) as other:

        def steal(event: Progress) -> None:
            if event.rows_done > 500 and not at_theft:
                other.execute(
                    "UPDATE tenant_migration.leases SET token = gen_random_uuid(), holder = 'a thief'"
                )
                at_theft.append(event.rows_done)

        with pytest.raises(LeaseLost, match=r"public\.claims.*nothing more was written"):
            backfill_table(world.connection, plan, table_of(plan, "public.claims"), run, progress=steal)
        filled = other.execute(
            "SELECT count(*) FROM public.claims WHERE organization_id IS NOT NULL"
        ).fetchone()
    assert filled == (at_theft[0],)
    world.assert_journal_is_exact("public.claims", before=set())


STOPS = {
    "run": "UPDATE tenant_migration.runs SET state = 'cancelled', actor = 'boss', reason = 'stop'"
    " WHERE run_id = {}",
    "table": "UPDATE tenant_migration.table_runs SET state = 'cancelled', actor = 'boss' WHERE run_id = {}",
    "emergency": "UPDATE tenant_migration.settings SET emergency_stop = true",
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
def test_cancel_and_emergency_stop_within_one_batch(claims: Callable[[int], World], stop: str) -> None:
    world = claims(3_000)
    plan = world.plan(batch_size=50, adaptive=False)
    run = world.run(plan)
    at_stop: list[int] = []
    batches_after: list[int] = []
    with psycopg.connect(world.url, autocommit=True) as other:

        def press(event: Progress) -> None:
            if at_stop:
                batches_after.append(event.batch_rows)
            elif event.rows_done >= 200:
                other.execute(stop.format(run.run_id).encode())
                at_stop.append(event.rows_done)

        with pytest.raises(RunStopped, match=r"public\.claims.*journaled"):
            backfill_table(world.connection, plan, table_of(plan, "public.claims"), run, progress=press)
    assert batches_after == []
    assert set(world.states("public.claims").values()) == {"cancelled"}
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    with pytest.raises(RunStopped):  # not even begun again
        backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
    world.sql("UPDATE tenant_migration.settings SET emergency_stop = false")
    result = world.migrate("public.claims")
    assert result.resumed
    assert result.rows_migrated == 2_880 - at_stop[0]
    assert world.missing("public.claims") == 0
    world.assert_journal_is_exact("public.claims", before=set())
    counted = world.one("SELECT sum(rows_migrated) FROM tenant_migration.table_states")
    assert (
        counted == world.one("SELECT count(*) FROM public.claims WHERE organization_id IS NOT NULL") == 2_880
    )


def test_an_interrupt_keeps_what_is_committed_and_gives_the_lease_back(
    claims: Callable[[int], World],
) -> None:
    world = claims(1_000)

    def interrupt(event: Progress) -> None:
        if event.rows_done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.migrate("public.claims", batch_size=50, adaptive=False, progress=interrupt)
    done = world.one("SELECT count(*) FROM public.claims WHERE organization_id IS NOT NULL")
    assert 300 <= done < 960
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    assert world.sql("SELECT state, reason FROM tenant_migration.table_runs") == [
        ("cancelled", "the run was interrupted by Ctrl-C (KeyboardInterrupt)")
    ]
    world.assert_journal_is_exact("public.claims", before=set())
    assert world.migrate("public.claims").rows_migrated == 960 - done


def test_inserts_updates_and_deletes_during_the_run(claims: Callable[[int], World]) -> None:
    """The application inserts, rewrites, moves, deletes and claims rows while the pass runs."""
    world = claims(5_000)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    orgs = dict(world.sql("SELECT tenant_id, organization_id FROM public.tenant_org_mappings"))
    claimed: list[int] = []
    with psycopg.connect(world.url, autocommit=True) as application:
        turn = iter(range(10_000))

        def traffic(event: Progress) -> None:
            if event.state != "running":
                return
            n = next(turn)
            application.execute(
                "INSERT INTO public.claims (id, tenant_id) VALUES (%s, %s)",
                (10_000 + n, TENANTS[n % len(TENANTS)]),
            )
            application.execute(
                "UPDATE public.claims SET title = repeat('long', 100) WHERE id = %s", (1 + n * 37 % 5_000,)
            )
            application.execute(
                "UPDATE public.claims SET tenant_id = 'beta' WHERE id = %s AND organization_id IS NULL",
                (2 + n * 11 % 5_000,),
            )
            application.execute("DELETE FROM public.claims WHERE id = %s", (3 + n * 53 % 5_000,))
            row = application.execute(
                "UPDATE public.claims SET organization_id = %s WHERE id = %s AND tenant_id = 'alpha'"
                " AND organization_id IS NULL RETURNING id",
                (orgs["alpha"], 5_000 - n),
            ).fetchone()
            claimed.extend(row or ())

        result = world.migrate("public.claims", batch_size=50, progress=traffic)
    assert result.rows_remaining == 0
    assert world.missing("public.claims") == world.wrong("public.claims") == 0
    journaled = world.journal_keys("public.claims")
    assert len(journaled) == len(set(journaled)) == result.rows_migrated
    assert not set(journaled) & {str(key) for key in claimed}, "what the application wrote is not ours"


def test_a_rewritten_table_starts_its_pass_again(claims: Callable[[int], World]) -> None:
    world = claims(5_000)
    rewrites: list[int] = []
    with psycopg.connect(world.url, autocommit=True) as other:

        def rewrite(event: Progress) -> None:
            if event.rows_done > 1_000 and not rewrites:
                other.execute("VACUUM FULL public.claims")
                rewrites.append(event.rows_done)

        result = world.migrate("public.claims", batch_size=100, progress=rewrite)
    assert rewrites
    assert result.rows_migrated == result.rows_expected
    assert result.sweeps == 0, "the second walk found every row"
    filenode = world.one("SELECT pg_relation_filenode('public.claims')")
    assert world.one("SELECT relfilenode FROM tenant_migration.cursors") == filenode
    world.assert_journal_is_exact("public.claims", before=set())


def test_a_row_moved_to_another_tenant_while_we_wait_gets_the_new_ones_organization(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    moved = world.one("SELECT min(id) FROM public.claims WHERE tenant_id = 'beta'")
    with psycopg.connect(world.url) as application:
        application.execute("UPDATE public.claims SET tenant_id = 'alpha' WHERE id = %s", (moved,))
        threading.Timer(0.5, application.commit).start()
        result = world.migrate("public.claims", lock_timeout_ms=3_000, retry_attempts=20)
    assert result.rows_remaining == 0
    assert world.wrong("public.claims") == world.missing("public.claims") == 0
    world.assert_journal_is_exact("public.claims", before=set())
