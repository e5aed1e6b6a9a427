"""Runs of other processes are stopped: healthy ones by themselves, frozen ones on the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.lease import KeepAlive
from tenant_migration.backfill.session import Session
from tenant_migration.database.connection import connect
from tenant_migration.errors import RunStopped
from tenant_migration.recovery.invalid_indexes import drop_invalid_indexes
from tenant_migration.recovery.stop_runs import Stopped, stop_runs, working_runs
from tenant_migration.recovery.switch import release_switch, set_switch
from tenant_migration_tests.backfill.conftest import ACTOR, World
from tenant_migration_tests.recovery.slow_worker import CONFIG, DEFAULTS
from tenant_migration_tests.recovery.working import filled, working

pytestmark = pytest.mark.newest_server_by_default

TABLE = "public.claims"
WITHIN_S = 2.0


@pytest.fixture
def planned(claims: Callable[[int], World]) -> World:
    world = claims(8_000)
    world.settings |= CONFIG
    world.plan(**DEFAULTS)
    return world


def press(world: World) -> Stopped:
    """Set the switch and stop what runs, as the emergency's first steps do; nothing is written afterwards."""
    set_switch(world.connection, actor=ACTOR, reason="a test", lock_timeout_ms=500)
    stopped = stop_runs(world.connection, working_runs(world.connection), actor=ACTOR, reason="a test")
    assert stopped.problems == []
    done = filled(world)
    time.sleep(0.5)
    assert filled(world) == done, "somebody went on writing"
    return stopped


def assert_nobody_works(world: World) -> None:
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    assert world.one("SELECT count(*) FROM tenant_migration.long_statements") == 0
    assert working_runs(world.connection) == ()
    assert world.sql("SELECT state, finished_at IS NOT NULL FROM tenant_migration.runs") == [
        ("cancelled", True)
    ]


def test_a_healthy_run_ends_by_itself(planned: World) -> None:
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert (stopped.terminated, stopped.leases_taken) == ([], [])
        assert worker.end() == ["RunStopped"]
    assert 500 < filled(planned) < 7_000
    assert_nobody_works(planned)
    planned.assert_journal_is_exact(TABLE, before=set())
    assert set(planned.states(TABLE).values()) == {"cancelled"}


def test_a_frozen_run_is_ended_on_the_server_and_writes_nothing_when_it_comes_back(planned: World) -> None:
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        worker.freeze()
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert len(stopped.terminated) == 1
        assert_nobody_works(planned)
        done = filled(planned)
        release_switch(planned.connection)  # that it cannot write does not depend on the switch alone
        assert worker.thaw() == ["RunStopped"]
    assert filled(planned) == done
    planned.assert_journal_is_exact(TABLE, before=set())


def test_a_run_frozen_inside_a_transaction_lets_go_of_its_rows(planned: World) -> None:
    with working(planned, freeze_at=f"{failpoints.BATCH_BEFORE_COMMIT}:8") as worker:
        worker.wait_frozen()
        committed = filled(planned)
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert len(stopped.terminated) == 1
        assert_nobody_works(planned)
        with psycopg.connect(planned.url, options="-c lock_timeout=200ms") as application:
            application.execute("SELECT FROM public.claims FOR UPDATE")  # nobody holds a row
        release_switch(planned.connection)
        assert worker.thaw() == ["RunStopped"]
    assert filled(planned) == committed > 0
    planned.assert_journal_is_exact(TABLE, before=set())


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_run_frozen_while_it_records_states_cannot_call_anything_completed(
    planned: World, nth: int
) -> None:
    """The transaction of the states holds the run's own row: it is marked as soon as that one is ended."""
    with working(planned, freeze_at=f"{failpoints.STATE_BEFORE_COMMIT}:{nth}") as worker:
        worker.wait_frozen()
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert_nobody_works(planned)
        release_switch(planned.connection)
        assert worker.thaw() == ["RunStopped"]
    assert set(planned.states(TABLE).values()) <= {"validating", "running", "verifying", "cancelled"}
    assert planned.sql("SELECT state FROM tenant_migration.runs") == [("cancelled",)]


@pytest.mark.parametrize("frozen", [False, True], ids=["healthy", "frozen"])
def test_an_index_build_that_waits_behind_an_old_transaction(planned: World, frozen: bool) -> None:
    def build() -> object:
        return planned.sql(
            "SELECT s.statement FROM tenant_migration.long_statements s JOIN pg_stat_activity a"
            " ON a.pid = s.backend_pid WHERE a.query LIKE 'CREATE INDEX CONCURRENTLY%%'"
            " AND a.wait_event = 'virtualxid'"
        )

    with psycopg.connect(planned.url) as old, working(planned) as worker:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM public.organizations")  # an old snapshot, no lock on the table
        worker.wait_until(build, "the build waits for the old transaction")
        assert planned.sql("SELECT statement FROM tenant_migration.long_statements") == [
            (f"the build of index claims_organization_id_idx of {TABLE}",)
        ]
        if frozen:
            worker.freeze()
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert bool(stopped.cancelled) is frozen
        dropped = drop_invalid_indexes(planned.connection)
        assert dropped.left == []
        assert bool(dropped.dropped) is frozen, "a healthy client takes its own INVALID index away"
        assert (worker.thaw() if frozen else worker.end()) == ["RunStopped"]
        assert planned.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
    assert_nobody_works(planned)
    assert planned.missing(TABLE) == 0, "what was written stays"


def test_a_run_that_waits_for_a_table_lock_makes_nothing_afterwards(planned: World) -> None:
    """Its connection is ended between two attempts; it must not go on with another one."""
    with psycopg.connect(planned.url) as application, working(planned) as worker:
        application.execute("SELECT count(*) FROM public.claims")
        worker.wait_until(
            lambda: planned.one("SELECT count(*) FROM tenant_migration.leases"), "it has the lease"
        )
        time.sleep(1)  # the attempts are far apart by now
        stopped = press(planned)
        assert stopped.seconds < WITHIN_S
        assert_nobody_works(planned)
        release_switch(planned.connection)
        application.rollback()
        assert worker.end() == ["RunStopped"]
    assert not planned.one(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.claims'::regclass"
        " AND attname = 'organization_id'"
    )


def test_an_invalid_index_of_somebody_else_stays(planned: World) -> None:
    planned.sql("INSERT INTO public.claims (id, title) VALUES (9001, 'twice'), (9002, 'twice')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        planned.sql("CREATE UNIQUE INDEX CONCURRENTLY their_unique ON public.claims (title)")
    assert drop_invalid_indexes(planned.connection).dropped == []
    assert planned.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == [
        ("their_unique",)
    ]


@pytest.mark.parametrize("registered_as", ["pooled", "same pid, another start"])
def test_a_server_process_that_serves_the_application_is_never_ended(
    planned: World, registered_as: str
) -> None:
    """Behind a pooler a registered process serves somebody else a moment later; and pids come again."""
    run = planned.run(planned.plan())
    name, start = ("billing", "a.backend_start")
    if registered_as != "pooled":
        name, start = ("tenant_migration", "a.backend_start - interval '1 s'")
    with psycopg.connect(planned.url, application_name=name, autocommit=True) as application:
        pid = application.info.backend_pid
        planned.sql(
            "INSERT INTO tenant_migration.long_statements (backend_pid, backend_start, run_id, statement)"
            f" SELECT a.pid, {start}, %s, 'a scan' FROM pg_stat_activity a WHERE a.pid = %s",
            run.run_id,
            pid,
        )
        planned.sql(
            "INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at,"
            " backend_pid, backend_start) SELECT gen_random_uuid(), %s, 'empty', %s, 'it', now() + '1 h',"
            f" a.pid, {start} FROM pg_stat_activity a WHERE a.pid = %s",
            planned.table_id(TABLE),
            run.run_id,
            pid,
        )
        stopped = press(planned)
        assert (stopped.cancelled, stopped.terminated) == ([], [])
        assert stopped.leases_taken == ["it"]
        assert application.execute("SELECT 1").fetchone() == (1,)
        assert application.info.backend_pid == pid


def test_work_that_holds_no_lease_is_stopped_too(planned: World) -> None:
    """A backup only reads."""
    run = planned.run(planned.plan(**DEFAULTS))
    seen: list[object] = []

    def press_from_elsewhere() -> None:
        with connect(planned.url) as other:
            seen.extend(
                other.execute("SELECT statement, run_id FROM tenant_migration.long_statements").fetchall()
            )
            set_switch(other, actor=ACTOR, reason=None, lock_timeout_ms=500)

    session = Session(planned.connection)
    started = time.monotonic()
    threading.Timer(0.3, press_from_elsewhere).start()
    with (
        pytest.raises(RunStopped, match="emergency switch"),
        KeepAlive(session, None, table_name="the backup", run_id=run.run_id, table_id=None) as watch,
        watch.long_statement("the copy of claims"),
    ):
        planned.connection.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - started < WITHIN_S
    assert seen == [("the copy of claims of the backup", run.run_id)]
    assert planned.one("SELECT count(*) FROM tenant_migration.long_statements") == 0


def test_a_run_whose_process_died_is_closed(planned: World) -> None:
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        worker.process.kill()
        worker.process.wait()
    stopped = press(planned)
    assert stopped.seconds < WITHIN_S
    assert_nobody_works(planned)
