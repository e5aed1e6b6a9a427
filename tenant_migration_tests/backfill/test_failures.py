"""What the engine does when the database says no: retry, halve, set a row aside, stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Progress
from tenant_migration.errors import OperationFailed, Refused
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of

NO_ROW_REFUSED = 960
"""Of the 1,000 claims of the fixture, those of tenants with a mapping."""


def test_a_row_that_violates_a_check_is_quarantined_and_the_others_go_on(
    claims: Callable[[int], World],
) -> None:
    world = claims(1_000)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    bad = [
        row[0]
        for row in world.sql("SELECT id FROM public.claims WHERE tenant_id = 'beta' ORDER BY id LIMIT 2")
    ]
    world.sql(
        "ALTER TABLE public.claims ADD CONSTRAINT not_these"
        f" CHECK (organization_id IS NULL OR id NOT IN ({bad[0]}, {bad[1]}))"
    )
    result = world.migrate("public.claims", batch_size=300, quarantine_max_share=0.02)
    assert result.rows_migrated == NO_ROW_REFUSED - 2
    assert result.rows_quarantined == 2
    assert result.rows_remaining == 0
    assert {row.row_key["id"] for row in result.quarantined} == {str(key) for key in bad}
    assert {(row.tenant_id, row.sqlstate, row.constraint) for row in result.quarantined} == {
        ("beta", "23514", "not_these")
    }
    states = world.states("public.claims")
    assert states.pop("beta") == "failed"
    assert set(states.values()) == {"verifying"}
    status = dict(world.sql("SELECT tenant_id, migration_status FROM public.tenant_org_mappings"))
    assert status["beta"] == "failed"
    reason = world.one("SELECT reason FROM tenant_migration.table_states WHERE state = 'failed'")
    assert "2 rows in quarantine" in reason
    assert "(SQLSTATE 23514, constraint not_these)" in reason
    assert result.waiting, "the index waits: two rows have no organization"
    world.assert_journal_is_exact("public.claims", before=set())

    again = world.migrate("public.claims")  # still refused: the same two, not recorded twice
    assert (again.rows_migrated, again.rows_quarantined) == (0, 2)
    assert world.one("SELECT count(*) FROM tenant_migration.quarantine WHERE resolved_at IS NULL") == 2

    world.sql("ALTER TABLE public.claims DROP CONSTRAINT not_these")
    mended = world.migrate("public.claims")
    assert (mended.rows_migrated, mended.rows_quarantined, mended.waiting) == (2, 0, ())
    assert world.one("SELECT count(*) FROM tenant_migration.quarantine WHERE resolved_at IS NULL") == 0
    assert set(world.states("public.claims").values()) == {"verifying"}


def test_quarantined_rows_of_a_partition_that_is_gone_hold_nobody_back(world: World) -> None:
    world.sql(
        "CREATE TABLE public.claims (id int, tenant_id text, organization_id uuid) PARTITION BY RANGE (id)"
    )
    world.sql("CREATE TABLE public.old PARTITION OF public.claims FOR VALUES FROM (0) TO (10)")
    world.sql("CREATE TABLE public.new PARTITION OF public.claims FOR VALUES FROM (10) TO (20)")
    world.sql("INSERT INTO public.claims VALUES (1, 'alpha'), (11, 'alpha')")
    world.sql("ALTER TABLE public.old ADD CHECK (organization_id IS NULL)")
    assert world.migrate("public.claims").rows_quarantined == 1
    world.sql("DROP TABLE public.old")
    again = world.migrate("public.claims")
    assert (again.rows_quarantined, again.waiting) == (0, ())
    assert set(world.states("public.claims").values()) == {"verifying"}


def test_a_row_refused_at_commit_is_quarantined(claims: Callable[[int], World]) -> None:
    """A deferred constraint speaks when the batch commits: the batch is halved all the same."""
    world = claims(200)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    bad = world.one("SELECT min(id) FROM public.claims WHERE tenant_id = 'beta'")
    world.sql(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.id = {bad} THEN RAISE EXCEPTION 'claim % is closed', NEW.id; END IF;"
        " RETURN NULL; END $$"
    )
    world.sql(
        "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON public.claims DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    result = world.migrate("public.claims", on_triggers="fire")
    assert [(row.sqlstate, row.message) for row in result.quarantined] == [
        ("P0001", f"claim {bad} is closed")
    ]
    assert result.rows_migrated == result.rows_expected - 1


def test_too_many_quarantined_rows_stop_the_table(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid CHECK (organization_id IS NULL)")
    with pytest.raises(
        OperationFailed,
        match=r"public\.claims: \d+ rows are in quarantine, more than 1\.0%.*23514, constraint claims_",
    ):
        world.migrate("public.claims", quarantine_max_share=0.01)
    assert set(world.states("public.claims").values()) == {"failed"}
    assert world.one("SELECT state FROM tenant_migration.table_runs") == "failed"
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0


def test_a_batch_over_the_statement_timeout_is_halved(claims: Callable[[int], World]) -> None:
    world = claims(400)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$"
    )
    world.sql(
        "CREATE TRIGGER slow BEFORE UPDATE ON public.claims FOR EACH ROW EXECUTE FUNCTION public.slow()"
    )
    seen: list[int] = []
    result = world.migrate(
        "public.claims",
        batch_size=400,
        statement_timeout_ms=300,
        on_triggers="fire",
        build_index="early",
        progress=lambda event: seen.append(event.batch_rows),
    )
    assert result.rows_migrated == result.rows_expected
    assert result.rows_quarantined == 0
    assert 0 < max(seen) <= 60
    world.assert_journal_is_exact("public.claims", before=set())


def test_a_row_that_somebody_holds_does_not_keep_the_others(claims: Callable[[int], World]) -> None:
    world = claims(500)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    held = world.one("SELECT min(id) FROM public.claims WHERE tenant_id = 'beta'")
    done: list[int] = []
    with psycopg.connect(world.url) as application:
        application.execute("SELECT FROM public.claims WHERE id = %s FOR UPDATE", (held,))

        def release(event: Progress) -> None:
            done.append(event.rows_done)
            if event.rows_done == event.rows_expected - 1:
                application.commit()

        result = world.migrate("public.claims", lock_timeout_ms=50, retry_attempts=4, progress=release)
    assert result.rows_migrated == result.rows_expected
    assert result.rows_expected - 1 in done, "all other rows were written while one was held"
    assert world.missing("public.claims") == 0


def test_a_locked_table_is_waited_for_only_so_often_and_the_holder_named(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    world.migrate("public.claims", tenants=["beta"])
    with psycopg.connect(world.url, application_name="nightly report") as application:
        application.execute("LOCK TABLE public.claims IN SHARE MODE")
        started = time.monotonic()
        with pytest.raises(OperationFailed, match=r"public\.claims: gave up after 3 attempts"):
            world.migrate("public.claims", lock_timeout_ms=50, retry_attempts=3)
        assert time.monotonic() - started < 10
    assert world.migrate("public.claims").rows_remaining == 0


def test_adding_the_column_never_waits_without_a_limit(claims: Callable[[int], World]) -> None:
    world = claims(10)
    with psycopg.connect(world.url, application_name="long report") as application:
        application.execute("SELECT count(*) FROM public.claims")
        with pytest.raises(OperationFailed, match=r"column organization_id.*long report"):
            world.migrate("public.claims", lock_timeout_ms=50, retry_attempts=3)
        application.execute("SELECT count(*) FROM public.claims")  # it was never locked out
    assert world.migrate("public.claims").rows_remaining == 0
    assert world.one("SELECT count(*) FROM tenant_migration.created_objects WHERE kind = 'column'") == 1


def test_a_deadlock_is_tried_again(claims: Callable[[int], World]) -> None:
    """The application locks two rows against the engine's order; whoever loses, every row is written."""
    world = claims(300)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    rows = [row[0] for row in world.sql("SELECT id FROM public.claims WHERE tenant_id = 'beta' ORDER BY id")]
    world.sql(
        "CREATE FUNCTION public.pause() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.id = {rows[-1]} THEN PERFORM pg_sleep(0.3); END IF; RETURN NEW; END $$"
    )
    world.sql(
        "CREATE TRIGGER pause BEFORE UPDATE ON public.claims FOR EACH ROW EXECUTE FUNCTION public.pause()"
    )
    victims: list[str] = []

    def cross() -> None:
        with psycopg.connect(world.url) as application:
            try:
                application.execute("UPDATE public.claims SET title = 'x' WHERE id = %s", (rows[-1],))
                time.sleep(0.2)
                application.execute("UPDATE public.claims SET title = 'x' WHERE id = %s", (rows[0],))
                application.commit()
            except psycopg.errors.DeadlockDetected:
                victims.append("application")

    threads: list[threading.Thread] = []

    def start(event: Progress) -> None:
        if not threads:
            threads.append(threading.Thread(target=cross))
            threads[0].start()

    result = world.migrate(
        "public.claims",
        lock_timeout_ms=5_000,
        on_triggers="fire",
        build_index="early",
        batch_size=30,
        adaptive=False,
        progress=start,
    )
    threads[0].join()
    assert result.rows_migrated == result.rows_expected
    assert world.missing("public.claims") == 0
    world.assert_journal_is_exact("public.claims", before=set())


def test_a_terminated_connection_is_made_anew_and_nothing_done_twice(claims: Callable[[int], World]) -> None:
    world = claims(3_000)
    plan = world.plan(batch_size=100, adaptive=False)
    run = world.run(plan)
    pid = world.connection.info.backend_pid
    kills: list[int] = []
    with psycopg.connect(world.url, autocommit=True) as other:

        def terminate(event: Progress) -> None:
            if event.rows_done > 500 and len(kills) < 3:
                pids = other.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenant_migration'"
                    " AND datname = current_database()"
                ).fetchall()
                for (found,) in pids:
                    other.execute("SELECT pg_terminate_backend(%s)", (found,))
                    kills.append(found)

        result = backfill_table(
            world.connection, plan, table_of(plan, "public.claims"), run, progress=terminate
        )
        assert kills[0] == pid
        assert len(set(kills)) == 3
        assert result.rows_migrated == result.rows_expected
        world.connection = other
        world.assert_journal_is_exact("public.claims", before=set())
        assert world.missing("public.claims") == 0
        assert other.execute(
            "SELECT rows_migrated FROM tenant_migration.table_runs WHERE run_id = %s", (run.run_id,)
        ).fetchone() == (result.rows_migrated,)


def test_an_error_that_no_attempt_can_change_stops_at_once(claims: Callable[[int], World]) -> None:
    world = claims(100)
    plan = world.plan()
    run = world.run(plan)
    world.sql("ALTER TABLE public.claims RENAME COLUMN tenant_id TO owner")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
    ((state, reason),) = world.sql("SELECT state, reason FROM tenant_migration.table_runs")
    assert state == "failed"
    assert "tenant_id" in reason


def test_row_security_that_hides_rows_is_an_error_and_never_zero_rows(claims: Callable[[int], World]) -> None:
    world = claims(100)
    plan = world.plan()
    run = world.run(plan)
    world.sql("ALTER TABLE public.claims ENABLE ROW LEVEL SECURITY")
    world.sql("ALTER TABLE public.claims FORCE ROW LEVEL SECURITY")
    with pytest.raises((Refused, psycopg.errors.InsufficientPrivilege), match=r"(?i)row.*security.*"):
        backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    assert world.one("SELECT actor FROM tenant_migration.table_runs") == ACTOR
