"""The lease stays ours however long a statement, a wait or the caller takes; and a stop ends what is long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tenant_migration.backfill import lease as leases
from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Progress, TableResult
from tenant_migration.backfill.session import Session
from tenant_migration.database.connection import connect
from tenant_migration.errors import LeaseLost, RunStopped
from tenant_migration_tests.backfill.conftest import World, table_of

pytestmark = pytest.mark.newest_server_by_default

TTL_S = 5.0
"""The shortest that the configuration allows."""
LONGER_S = 7.0


@pytest.fixture
def held(claims: Callable[[int], World]) -> Iterator[tuple[World, Session, leases.KeepAlive]]:
    """A lease on the claims, kept alive, over a connection of its own."""
    world = claims(10)
    run = world.run(world.plan())
    table_id = world.table_id("public.claims")
    with connect(world.url) as connection, Session(connection) as session:
        lease = leases.acquire(
            session,
            table_name="public.claims",
            table_id=table_id,
            tenant_numbers=None,
            run_id=run.run_id,
            holder=run.holder,
            ttl_s=TTL_S,
            wait_s=0,
            clock=Clock(),
        )
        with leases.KeepAlive(
            session, lease, table_name="public.claims", run_id=run.run_id, table_id=table_id
        ) as keep_alive:
            yield world, session, keep_alive


Held = tuple[World, Session, leases.KeepAlive]


def valid_leases(world: World) -> int:
    return int(world.one("SELECT count(*) FROM tenant_migration.leases WHERE expires_at > clock_timestamp()"))


def test_a_statement_longer_than_the_lease_keeps_it(held: Held) -> None:
    world, session, keep_alive = held
    with keep_alive.long_statement():
        session.connection.execute("SELECT pg_sleep(%s)", (LONGER_S,))
    assert valid_leases(world) == 1


def test_a_lost_heartbeat_connection_is_made_anew(held: Held) -> None:
    world, session, keep_alive = held
    ours = (session.connection.info.backend_pid, world.connection.info.backend_pid)
    ended: list[int] = []

    def end_heartbeats() -> None:
        with psycopg.connect(world.url, autocommit=True) as other:
            for _ in range(4):
                time.sleep(1)
                heartbeats = other.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenant_migration'"
                    " AND datname = current_database() AND pid <> ALL (%s)",
                    (list(ours),),
                ).fetchall()
                for (pid,) in heartbeats:
                    other.execute("SELECT pg_terminate_backend(%s)", (pid,))
                    ended.append(pid)

    thread = threading.Thread(target=end_heartbeats)
    thread.start()
    with keep_alive.long_statement():
        session.connection.execute("SELECT pg_sleep(%s)", (LONGER_S,))
    thread.join()
    assert len(set(ended)) > 1
    assert valid_leases(world) == 1


def test_a_stop_ends_a_long_statement_and_nothing_after_it(held: Held) -> None:
    world, session, keep_alive = held
    started = time.monotonic()
    world.sql("UPDATE tenant_migration.settings SET emergency_stop = true")
    with pytest.raises(RunStopped, match=r"public\.claims.*emergency"), keep_alive.long_statement():
        session.connection.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - started < 5
    session.connection.execute("SELECT pg_sleep(1.5)")  # cleaning up is let alone


def test_a_lease_that_is_taken_away_ends_a_long_statement(held: Held) -> None:
    world, session, keep_alive = held
    world.sql("DELETE FROM tenant_migration.leases")
    with pytest.raises(LeaseLost, match=r"public\.claims: the lease of run \d+"), keep_alive.long_statement():
        session.connection.execute("SELECT pg_sleep(30)")


EXPIRED = "UPDATE tenant_migration.leases SET expires_at = clock_timestamp() - interval '1 hour'"
TAKEN = "UPDATE tenant_migration.leases SET token = gen_random_uuid()"
MAPPED_ANEW = (
    "WITH o AS (INSERT INTO organizations (id) VALUES (gen_random_uuid()) RETURNING id)"
    " UPDATE tenant_org_mappings SET organization_id = o.id FROM o WHERE tenant_id = 'alpha'"
)
CLOSED = "UPDATE tenant_migration.runs SET state = 'failed', finished_at = now()"


def after_an_outage(world: World, *meanwhile: str) -> TableResult:
    """Migrate, and lose the connection longer than the lease lasts, with this happening meanwhile."""
    happened: list[bool] = []

    def outage(event: Progress) -> None:
        if event.rows_done and not happened:
            happened.append(True)
            pid = world.connection.info.backend_pid
            with psycopg.connect(world.url, autocommit=True) as other:
                for statement in (EXPIRED, *meanwhile):
                    other.execute(statement.encode())
                other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    try:
        return world.migrate(
            "public.claims", lease_ttl_s=TTL_S, batch_size=50, adaptive=False, progress=outage
        )
    finally:
        assert happened


def test_an_outage_longer_than_the_lease_ends_no_run_when_nobody_took_it(
    claims: Callable[[int], World],
) -> None:
    world = claims(300)
    result = after_an_outage(world)
    assert result.rows_migrated == result.rows_expected
    with connect(world.url) as connection:
        assert connection.execute("SELECT count(*) FROM tenant_migration.leases").fetchone() == (0,)


@pytest.mark.parametrize(
    ("meanwhile", "error", "message"),
    [
        (TAKEN, LeaseLost, "was taken over, or taken away"),
        ("DELETE FROM tenant_migration.leases", LeaseLost, "was taken over, or taken away"),
        (CLOSED, LeaseLost, "was taken over, or taken away"),
        (MAPPED_ANEW, psycopg.Error, "the mapping of tenant 'alpha' changed since it started"),
    ],
    ids=["taken over", "taken away", "closed", "mapped anew"],
)
def test_after_an_outage_a_run_does_not_go_on_where_something_happened(
    claims: Callable[[int], World], meanwhile: str, error: type[Exception], message: str
) -> None:
    world = claims(300)
    with pytest.raises(error, match=message):
        after_an_outage(world, meanwhile)
    with psycopg.connect(world.url) as other:
        filled = other.execute("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL").fetchone()
    assert filled is not None
    assert 0 < filled[0] <= 50


def test_a_process_that_was_frozen_goes_on_when_nobody_took_its_lease(held: Held) -> None:
    world, session, keep_alive = held
    world.sql(EXPIRED)
    keep_alive._renewed_at -= LONGER_S
    keep_alive.renew_when_due(session.connection)
    assert valid_leases(world) == 1
    assert world.one("SELECT backend_pid FROM tenant_migration.leases") == session.connection.info.backend_pid


def test_a_caller_who_takes_longer_than_the_lease_does_not_lose_it(claims: Callable[[int], World]) -> None:
    world = claims(300)
    paused: list[bool] = []

    def pause(event: Progress) -> None:
        if event.rows_done and not paused:
            paused.append(True)
            time.sleep(LONGER_S)

    result = world.migrate("public.claims", lease_ttl_s=TTL_S, batch_size=50, adaptive=False, progress=pause)
    assert paused
    assert result.rows_migrated == result.rows_expected


def test_a_batch_longer_than_the_lease_does_not_lose_it_even_when_it_fails(
    claims: Callable[[int], World],
) -> None:
    """A batch that runs into its timeout would take a renewal of its own back with it."""
    world = claims(50)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.id = 7 THEN PERFORM pg_sleep(4); ELSE PERFORM pg_sleep(0.1); END IF;"
        " RETURN NEW; END $$"
    )
    world.sql(
        "CREATE TRIGGER slow BEFORE UPDATE ON public.claims FOR EACH ROW EXECUTE FUNCTION public.slow()"
    )
    seen: list[float] = []
    result = world.migrate(
        "public.claims",
        lease_ttl_s=TTL_S,
        statement_timeout_ms=6_500,
        batch_size=500,
        on_triggers="fire",
        build_index="early",
        progress=lambda event: seen.append(event.batch_ms),
    )
    assert result.rows_migrated == result.rows_expected == 48
    assert result.rows_quarantined == 0


def test_a_table_locked_for_longer_than_the_lease_is_waited_for(claims: Callable[[int], World]) -> None:
    world = claims(200)
    plan = world.plan(lease_ttl_s=TTL_S, batch_size=50, adaptive=False, retry_attempts=20)
    run = world.run(plan)
    locked: list[threading.Timer] = []
    with psycopg.connect(world.url) as application:

        def lock(event: Progress) -> None:
            if event.rows_done and not locked:
                application.execute("LOCK TABLE public.claims IN SHARE MODE")
                locked.append(threading.Timer(LONGER_S + 1, application.commit))
                locked[0].start()

        result = backfill_table(world.connection, plan, table_of(plan, "public.claims"), run, progress=lock)
    assert locked
    assert result.rows_migrated == result.rows_expected
