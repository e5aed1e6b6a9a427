"""Column, index and foreign key: registered before they are made, built late, never left INVALID."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.structure.names import object_name
from tenant_migration.errors import OperationFailed, RunStopped
from tenant_migration_tests.backfill.conftest import TENANTS, World, table_of

INDEX = "claims_organization_id_idx"
TRIGGERS = (
    "trigger tenant_migration_claim_update on public.claims",
    "trigger tenant_migration_claim_delete on public.claims",
    "trigger tenant_migration_claim_truncate on public.claims",
)


def index_is_valid(world: World, name: str = INDEX) -> bool | None:
    found = world.sql(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relname = %s", name
    )
    return found[0][0] if found else None


def test_what_is_created_is_registered_and_named_in_the_result(claims: Callable[[int], World]) -> None:
    world = claims(200)
    result = world.migrate("public.claims")
    assert result.created == (
        "column organization_id on public.claims",
        *TRIGGERS,
        f"index {INDEX} on public.claims",
        "foreign key claims_organization_id_fkey on public.claims",
    )
    registered = world.sql(
        "SELECT kind, object_name, on_relation FROM tenant_migration.created_objects WHERE"
        " created_at IS NOT NULL ORDER BY 1, 2"
    )
    assert registered == [
        ("column", "organization_id", "public.claims"),
        ("foreign_key", "claims_organization_id_fkey", "public.claims"),
        ("index", INDEX, "public.claims"),
        ("journal", f"journal_{world.table_id('public.claims')}", "public.claims"),
        ("trigger", "tenant_migration_claim_delete", "public.claims"),
        ("trigger", "tenant_migration_claim_truncate", "public.claims"),
        ("trigger", "tenant_migration_claim_update", "public.claims"),
    ]
    again = world.migrate("public.claims")
    assert (again.created, again.waiting, again.rows_migrated) == ((), (), 0)


def test_what_was_there_is_not_registered(claims: Callable[[int], World]) -> None:
    world = claims(200)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid REFERENCES public.organizations")
    world.sql("CREATE INDEX my_own ON public.claims (organization_id)")
    result = world.migrate("public.claims")
    assert (result.created, result.strategy, result.rows_hot) == (TRIGGERS, "ctid_ranges", 0)
    assert world.sql("SELECT DISTINCT kind FROM tenant_migration.created_objects ORDER BY 1") == [
        ("journal",),
        ("trigger",),
    ]


@pytest.mark.parametrize(
    ("when", "strategy"), [("early", "ctid_ranges"), ("after_data", "hot_waves"), ("finalize", "hot_waves")]
)
def test_when_the_index_is_built(claims: Callable[[int], World], when: str, strategy: str) -> None:
    world = claims(3_000)
    result = world.migrate("public.claims", build_index=when)
    assert result.strategy == strategy
    assert index_is_valid(world) is (None if when == "finalize" else True)
    assert bool(result.waiting) == (when == "finalize")
    if when == "finalize":
        assert all("finalize" in line for line in result.waiting)
    assert (result.hot_share > 0.5) == (strategy == "hot_waves")


def test_the_last_tenant_builds_the_index(claims: Callable[[int], World]) -> None:
    world = claims(500)
    for tenant in TENANTS[:-1]:
        result = world.migrate("public.claims", tenants=[tenant])
        assert any("other tenants" in line for line in result.waiting)
        assert index_is_valid(world) is None
    last = world.migrate("public.claims", tenants=[TENANTS[-1]])
    assert last.waiting == ()
    assert index_is_valid(world) is True


def test_an_invalid_index_of_ours_is_dropped_and_built_anew(claims: Callable[[int], World]) -> None:
    """A build that is cancelled leaves an INVALID index, which IF NOT EXISTS would take for a good one."""
    world = claims(500)
    world.migrate("public.claims", build_index="finalize")
    with psycopg.connect(world.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute(
            "SELECT count(*) FROM public.claims"
        )  # an old snapshot keeps a concurrent build waiting
        failed: list[BaseException] = []

        def build() -> None:
            other = World(world.url, psycopg.connect(world.url, autocommit=True))
            try:
                other.migrate("public.claims", retry_attempts=1)
            except OperationFailed as error:
                failed.append(error)
            except psycopg.errors.QueryCanceled as error:
                failed.append(error)

        thread = threading.Thread(target=build)
        thread.start()
        deadline = time.monotonic() + 20
        while not world.sql(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX"
            " CONCURRENTLY%'"
            " AND wait_event_type = 'Lock' AND datname = current_database()"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        reader.rollback()
        thread.join()
    assert failed
    assert index_is_valid(world) is None, "the INVALID one was dropped at once"

    world.sql(f"CREATE INDEX {INDEX} ON public.claims (organization_id)")
    world.connection.execute("SELECT 1")
    with psycopg.connect(world.url.replace("app_owner", "postgres"), autocommit=True) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"public.{INDEX}",)
        )
    assert world.migrate("public.claims").waiting == ()
    assert index_is_valid(world) is True


def test_an_invalid_index_of_somebody_else_is_never_dropped(claims: Callable[[int], World]) -> None:
    world = claims(100)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql("CREATE INDEX theirs ON public.claims (organization_id)")
    with psycopg.connect(world.url.replace("app_owner", "postgres"), autocommit=True) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.theirs'::regclass"
        )
    world.migrate("public.claims")
    assert index_is_valid(world, "theirs") is False
    assert index_is_valid(world) is True


def test_cancel_ends_an_index_build_on_the_server(claims: Callable[[int], World]) -> None:
    world = claims(200)
    world.migrate("public.claims", build_index="finalize")
    plan = world.plan()
    run = world.run(plan)
    with psycopg.connect(world.url) as reader, psycopg.connect(world.url, autocommit=True) as other:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM public.claims")

        def cancel() -> None:
            deadline = time.monotonic() + 20
            while not other.execute(
                "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"
                " AND wait_event_type = 'Lock' AND datname = current_database()"
            ).fetchall():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            other.execute(
                "UPDATE tenant_migration.runs SET state = 'cancelled', reason = 'stop' WHERE run_id = %s",
                (run.run_id,),
            )
            time.sleep(2)
            reader.rollback()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(RunStopped, match=r"public\.claims: the run was cancelled"):
            backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
        thread.join()
    assert index_is_valid(world) is None
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0


def test_rows_that_name_no_organization_keep_the_foreign_key_unvalidated(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql("UPDATE public.claims SET organization_id = gen_random_uuid() WHERE tenant_id = 'beta'")
    with pytest.raises(
        OperationFailed, match=r"public\.claims.*does not exist.*claims_organization_id_fkey stays NOT VALID"
    ):
        world.migrate("public.claims", on_existing_value="keep")
    assert set(world.states("public.claims").values()) == {"failed"}
    world.sql("UPDATE public.claims SET organization_id = NULL WHERE tenant_id = 'beta'")
    assert world.migrate("public.claims").waiting == ()
    assert world.one("SELECT convalidated FROM pg_constraint WHERE conname = 'claims_organization_id_fkey'")


def test_long_names_are_cut_by_us_and_stay_different(world: World) -> None:
    first, second = "t" * 60 + "_one", "t" * 60 + "_two"
    assert object_name(first, "organization_id", "idx") != object_name(second, "organization_id", "idx")
    assert len(object_name(first, "organization_id", "idx").encode()) <= 63
    assert len(object_name("ü" * 31, "organization_id", "idx").encode()) <= 63
    name = "é" * 31
    world.sql(f'CREATE TABLE public."{name}" (id int PRIMARY KEY, tenant_id text)')
    world.sql(f"INSERT INTO public.\"{name}\" VALUES (1, 'alpha')")
    result = world.migrate(f"public.{name}")
    assert (result.rows_migrated, len(result.created), result.waiting) == (1, 6, ())
    assert world.migrate(f"public.{name}").created == ()


def test_partitions_that_come_during_the_run_are_migrated_too(world: World) -> None:
    world.sql("CREATE TABLE public.claims (id int, tenant_id text, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    world.sql("CREATE TABLE public.claims_1 PARTITION OF public.claims FOR VALUES FROM (0) TO (1000)")
    world.sql("INSERT INTO public.claims SELECT i, 'alpha' FROM generate_series(1, 500) i")
    with psycopg.connect(world.url, autocommit=True) as application:
        made: list[int] = []

        def partition(event: object) -> None:
            if not made:
                application.execute(
                    "CREATE TABLE public.claims_2 PARTITION OF public.claims FOR VALUES FROM (1000) TO (2000)"
                )
                application.execute(
                    "INSERT INTO public.claims SELECT i, 'beta' FROM generate_series(1000, 1010) i"
                )
                made.append(1)

        result = world.migrate("public.claims", progress=partition)
    assert result.rows_migrated == 511
    assert world.missing("public.claims") == 0
    assert result.waiting == ()


def test_statements_of_the_dry_run_are_those_of_the_run(world: World) -> None:
    """What a dry run prints, executed by hand, leaves nothing for the run to create."""
    world.sql("CREATE TABLE public.claims (id int, tenant_id text) PARTITION BY RANGE (id)")
    world.sql("CREATE TABLE public.claims_1 PARTITION OF public.claims DEFAULT")
    world.sql("INSERT INTO public.claims SELECT i, 'alpha' FROM generate_series(1, 50) i")
    plan = world.plan()
    dry = dry_run_table(world.connection, plan, table_of(plan, "public.claims"))
    assert dry.refusals == ()
    for statement in dry.statements:
        world.connection.execute(statement.encode())
    attach = (
        "ALTER INDEX public.claims_organization_id_idx ATTACH PARTITION public.claims_1_organization_id_idx"
    )
    world.sql(attach)
    assert world.migrate("public.claims").created == ()


_BUILDS = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"
    " AND wait_event_type = 'Lock' AND state = 'active' AND datname = current_database()"
)


@contextmanager
def during_the_build(world: World, act: Callable[[psycopg.Connection, int], None]) -> Iterator[None]:
    """Hold the concurrent index build of the body up; act on its server process, then let it go."""
    failed: list[BaseException] = []
    with psycopg.connect(world.url) as reader, psycopg.connect(world.url, autocommit=True) as other:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM public.claims")

        def wait_and_act() -> None:
            try:
                deadline = time.monotonic() + 20
                while not (pids := other.execute(_BUILDS).fetchall()):
                    assert time.monotonic() < deadline, "no build began"
                    time.sleep(0.05)
                act(other, pids[0][0])
            except BaseException as error:  # noqa: BLE001 - raised below
                failed.append(error)
            finally:
                reader.rollback()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        try:
            yield
        finally:
            thread.join()
    assert failed == []


def test_an_index_build_that_loses_its_connection_is_done_again_and_said_to_be_created(
    claims: Callable[[int], World],
) -> None:
    world = claims(200)
    world.migrate("public.claims", build_index="finalize")
    plan = world.plan()
    run = world.run(plan)

    def terminate(other: psycopg.Connection, pid: int) -> None:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    with psycopg.connect(world.url, autocommit=True) as judge:
        with during_the_build(world, terminate):
            result = backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
        world.connection = judge
        assert f"index {INDEX} on public.claims" in result.created
        assert result.waiting == ()
        assert index_is_valid(world) is True
        assert set(world.states("public.claims").values()) == {"verifying"}


class _InterruptedError(BaseException):
    """As Dagster's: psycopg, which knows Ctrl-C, does not end the statement for it."""


def test_an_interruption_ends_an_index_build_on_the_server_and_is_recorded(
    claims: Callable[[int], World],
) -> None:
    world = claims(200)
    world.migrate("public.claims", build_index="finalize")

    def interrupt(_number: int, _frame: object) -> None:
        raise _InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with (
            pytest.raises(_InterruptedError),
            during_the_build(world, lambda _, __: os.kill(os.getpid(), signal.SIGUSR1) or time.sleep(1)),
        ):
            world.migrate("public.claims")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert world.sql(_BUILDS) == []
    state, reason = world.sql("SELECT state, reason FROM tenant_migration.table_runs ORDER BY run_id")[-1]
    assert state == "cancelled"
    assert "interrupted by" in reason
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    assert set(world.states("public.claims").values()) == {"cancelled"}
    assert world.migrate("public.claims").waiting == ()
    assert index_is_valid(world) is True


def test_an_index_that_another_run_is_building_is_left_to_it(claims: Callable[[int], World]) -> None:
    """Runs over other tenants have leases of their own: a half-built index is not a broken one."""
    world = claims(200)
    plan = world.plan()
    for tenant in TENANTS[1:]:
        backfill_table(world.connection, plan, table_of(plan, "public.claims"), world.run(plan, [tenant]))
    waiting: list[tuple[str, ...]] = []

    def run_beside(other: psycopg.Connection, _: int) -> None:
        beside = World(world.url, other).run(plan, ["beta"])
        waiting.append(backfill_table(other, plan, table_of(plan, "public.claims"), beside).waiting)

    with during_the_build(world, run_beside):
        result = backfill_table(
            world.connection, plan, table_of(plan, "public.claims"), world.run(plan, ["alpha"])
        )
    assert any("another run builds it" in line for line in waiting[0])
    assert result.waiting == ()
    assert index_is_valid(world) is True


def test_an_index_name_that_somebody_else_has_is_left_to_him(claims: Callable[[int], World]) -> None:
    """PostgreSQL names a partial index as we would name ours."""
    world = claims(200)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql("CREATE INDEX ON public.claims (organization_id) WHERE title IS NULL")
    plan = world.plan()
    dry = dry_run_table(world.connection, plan, table_of(plan, "public.claims"))
    result = world.migrate("public.claims")
    assert result.created == (
        *TRIGGERS,
        f"index {INDEX}1 on public.claims",
        "foreign key claims_organization_id_fkey on public.claims",
    )
    assert any(f"{INDEX}1" in statement for statement in dry.statements)
    assert index_is_valid(world, f"{INDEX}1") is True
    assert world.migrate("public.claims").created == ()
