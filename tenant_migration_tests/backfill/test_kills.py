"""SIGKILL of a separate process, anywhere: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.runs import start_run
from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.backfill.conftest import TENANTS, World
from tenant_migration_tests.servers import Server

pytestmark = pytest.mark.newest_server_by_default

ROOT = Path(__file__).parents[2]
TABLE = "public.claims"
ROWS = 8_000
WORKER_TIMEOUT_S = 120
KILLS = 100
"""For each server version, in the tier `faults`."""
SEED_VARIABLE = "TENANT_MIGRATION_TEST_SEED"

# A few in the default tier: one of each kind of thing that a crash can tear apart.
ESSENTIAL = (
    f"{failpoints.COLUMN_ADDED}:1",
    f"{failpoints.BATCH_BEFORE_COMMIT}:7",
    f"{failpoints.BATCH_AFTER_COMMIT}:12",
    f"{failpoints.STATE_BEFORE_COMMIT}:2",
    f"{failpoints.INDEX_REGISTERED}:2",
)


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """A database with the tool, tenants and partitioned claims: every crash starts from a copy of it."""
    name = server.create_database()
    with connect(server.url(name)) as connection:
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        world = World(server.url(name), connection)
        install(connection, world.config)
        world.add_tenants()
        connection.execute(
            "CREATE TABLE public.claims (id bigint PRIMARY KEY, tenant_id text, title text)"
            " PARTITION BY RANGE (id)"
        )
        connection.execute(
            f"CREATE TABLE public.claims_a PARTITION OF public.claims FOR VALUES FROM (0) TO ({ROWS // 2})"
        )
        connection.execute("CREATE TABLE public.claims_b PARTITION OF public.claims DEFAULT")
        connection.execute(
            "INSERT INTO public.claims SELECT i, CASE WHEN i %% 50 > 0 THEN (%s::text[])[1 + i %%"
            " %s] END, 'claim ' || i"
            " FROM generate_series(1, %s) AS i",
            (list(TENANTS), len(TENANTS), ROWS),
        )
    yield name
    server.drop_database(name)


@pytest.fixture
def crashing(server: Server, template: str) -> Iterator[World]:
    name = server.create_database(template)
    with connect(server.url(name)) as connection:
        yield World(server.url(name), connection)
    server.drop_database(name)


def start(world: World, failpoint: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, DATABASE_URL_VARIABLE: world.url}
    environment.pop(failpoints.VARIABLE, None)
    if failpoint:
        environment[failpoints.VARIABLE] = failpoint
    return subprocess.Popen(
        [sys.executable, "-m", "tenant_migration_tests.backfill.worker", TABLE],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for the worker; fail on anything but its own end or SIGKILL."""
    _, errors = process.communicate(timeout=WORKER_TIMEOUT_S)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode


def let_server_notice(world: World) -> None:
    """Wait until the dead client's backends are gone, and let its lease expire now."""
    deadline = time.monotonic() + 30
    while world.one(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ):
        assert time.monotonic() < deadline, "the dead worker's backend is still there"
        time.sleep(0.02)
    world.sql("UPDATE tenant_migration.leases SET expires_at = clock_timestamp()")


def assert_rows_and_journal_agree(world: World) -> None:
    """At every moment a row is filled exactly when it is journaled, once, with its tenant."""
    if not world.one(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.claims'::regclass"
        " AND attname = 'organization_id'"
    ):
        return
    assert world.wrong(TABLE) == 0
    filled = world.one("SELECT count(*) FROM public.claims WHERE organization_id IS NOT NULL")
    if filled == 0:
        return
    world.assert_journal_is_exact(TABLE, before=set())
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    assert world.one(f"SELECT sum(row_count) FROM {journal}") == filled
    by_run = dict(world.sql(f"SELECT run_id, sum(row_count) FROM {journal} GROUP BY run_id"))
    counted = dict(
        world.sql("SELECT run_id, rows_migrated FROM tenant_migration.table_runs WHERE rows_migrated > 0")
    )
    assert counted == by_run, "a run's counter is its journal"


def assert_done(world: World) -> None:
    """Everything is there once: rows, journal, counts of tenants, structure, states; and nothing else is."""
    assert_rows_and_journal_agree(world)
    assert world.missing(TABLE) == 0
    assert set(world.states(TABLE).values()) == {"completed"}
    pairs = dict(
        world.sql(
            "SELECT tenant_id, rows_migrated FROM tenant_migration.table_states JOIN tenant_migration.tenants"
            " USING (tenant_number)"
        )
    )
    rows = dict(
        world.sql("SELECT tenant_id, count(*) FROM public.claims WHERE tenant_id IS NOT NULL GROUP BY 1")
    )
    assert pairs == rows
    assert dict(world.sql("SELECT tenant_id, record_count FROM public.tenant_org_mappings")) == rows
    assert world.sql("SELECT DISTINCT migration_status FROM public.tenant_org_mappings") == [("completed",)]
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    invalid = world.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    assert invalid == []
    indexes = world.one(
        "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attnum = i.indkey[0] AND a.attname = 'organization_id'"
        " WHERE i.indrelid::regclass::text LIKE 'public.claims%'"
        " OR i.indrelid::regclass::text LIKE 'claims%'"
    )
    assert indexes == 3, "the root's index and one for each partition, no second ones"
    assert world.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated") == 0
    assert world.one("SELECT count(*) FROM tenant_migration.created_objects WHERE created_at IS NULL") == 0


def resume(world: World) -> None:
    let_server_notice(world)
    assert finish(start(world)) == 0
    assert_done(world)


@pytest.mark.parametrize("failpoint", ESSENTIAL)
def test_killed_at_a_named_point_and_resumed(crashing: World, failpoint: str) -> None:
    assert finish(start(crashing, failpoint)) == -signal.SIGKILL, "the point was reached"
    let_server_notice(crashing)
    assert_rows_and_journal_agree(crashing)
    resume(crashing)


def test_killed_at_random_times_and_resumed(crashing: World) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.randrange(10**6))
    print(f"seed {seed}")  # noqa: T201 - repeats the failure with TENANT_MIGRATION_TEST_SEED
    kill_at_random(crashing, random.Random(seed), most=3)
    resume(crashing)


def kill_at_random(world: World, chance: random.Random, *, most: int) -> int:
    """Kill workers at random moments of their work until one ends by itself; return how many were killed."""
    for kills in range(most):
        process = start(world)
        time.sleep(chance.uniform(0.5, 2.5))
        process.kill()
        if finish(process) == 0:
            return kills
        let_server_notice(world)
        assert_rows_and_journal_agree(world)
    return most


@pytest.mark.faults
@pytest.mark.parametrize(
    "failpoint",
    [name for name in failpoints.NAMES if name not in (failpoints.ROW_QUARANTINED, *failpoints.OF_RECOVERY)],
)
def test_killed_at_every_named_point(crashing: World, failpoint: str) -> None:
    if failpoint == failpoints.SWEEP_STARTED:
        leave_rows_to_the_sweep(crashing)
    assert finish(start(crashing, failpoint)) == -signal.SIGKILL, "the point was reached"
    let_server_notice(crashing)
    assert_rows_and_journal_agree(crashing)
    resume(crashing)


def leave_rows_to_the_sweep(world: World) -> None:
    """Mark the bulk pass as finished: what is left is the sweep's."""
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    plan = world.plan()
    run = start_run(world.connection, plan, actor="tester")
    world.sql(
        "INSERT INTO tenant_migration.cursors (table_id, leaf, leaf_name, relfilenode,"
        " mapping_checksum, end_page,"
        " finished, run_id) SELECT %s, c.oid, c.relname, pg_relation_filenode(c.oid), %s, 0, true, %s"
        " FROM pg_class c WHERE c.relname IN ('claims_a', 'claims_b')",
        world.table_id(TABLE),
        run.mapping_checksum,
        run.run_id,
    )


@pytest.mark.faults
def test_a_hundred_kills(server: Server, template: str) -> None:
    """At random times and at random points, over and over: the same promises each time."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.randrange(10**6))
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    kills = 0
    while kills < KILLS:
        name = server.create_database(template)
        with connect(server.url(name)) as connection:
            world = World(server.url(name), connection)
            for _ in range(chance.randint(2, 10)):
                if chance.random() < 0.5:
                    point = chance.choice(
                        [name for name in failpoints.NAMES if name not in failpoints.OF_RECOVERY]
                    )
                    ended = finish(start(world, f"{point}:{chance.choice((1, 1, 2, 3, 10, 40))}"))
                    kills += ended != 0
                else:
                    killed = kill_at_random(world, chance, most=1)
                    kills, ended = kills + killed, -killed
                let_server_notice(world)
                assert_rows_and_journal_agree(world)
                if ended == 0:
                    break
            resume(world)
        server.drop_database(name)
    print(f"{kills} kills")  # noqa: T201


def test_a_quarantined_row_survives_a_kill(crashing: World) -> None:
    crashing.sql(
        "ALTER TABLE public.claims ADD COLUMN organization_id uuid CHECK (organization_id IS NULL OR"
        " id <> 4001)"
    )
    assert finish(start(crashing, failpoints.ROW_QUARANTINED)) == -signal.SIGKILL
    let_server_notice(crashing)
    assert crashing.one("SELECT count(*) FROM tenant_migration.quarantine WHERE resolved_at IS NULL") == 1
    crashing.sql("ALTER TABLE public.claims DROP CONSTRAINT claims_check")
    resume(crashing)
    assert crashing.one("SELECT count(*) FROM tenant_migration.quarantine WHERE resolved_at IS NULL") == 0


def test_a_dead_workers_lease_expires_by_itself(crashing: World) -> None:
    assert finish(start(crashing, f"{failpoints.BATCH_AFTER_COMMIT}:5")) == -signal.SIGKILL
    with psycopg.connect(crashing.url) as observer:
        assert observer.execute("SELECT count(*) FROM tenant_migration.leases").fetchone() == (1,)
    assert finish(start(crashing)) == 0  # waits for the five seconds of the lease
    assert_done(crashing)
