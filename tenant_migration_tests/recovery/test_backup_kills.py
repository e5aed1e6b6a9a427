"""SIGKILL of the process that takes a backup, at each of its points: a half backup is none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration.workflow.backup import cleanup_backups, list_backups
from tenant_migration_tests.backfill.conftest import ACTOR, World
from tenant_migration_tests.recovery.backup_scene import (
    TABLE,
    audit_of,
    back_up,
    backup_relations,
    copied_rows,
    rows_now,
)

ROOT = Path(__file__).parents[2]
WORKER_TIMEOUT_S = 120
SEED_VARIABLE = "TENANT_MIGRATION_TEST_SEED"
POINTS = tuple(name for name in failpoints.OF_RECOVERY if name.startswith("backup_"))
LEAVES_A_BACKUP = {
    failpoints.BACKUP_COMPLETED,
    failpoints.BACKUP_FILES_WRITTEN,
    failpoints.BACKUP_EXPORTED,
}
"""After these the rows are committed: it is complete, exported or not."""

Claims = Callable[[int], World]

_WORKERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


def start(world: World, *arguments: str, failpoint: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, DATABASE_URL_VARIABLE: world.url}
    environment.pop(failpoints.VARIABLE, None)
    if failpoint:
        environment[failpoints.VARIABLE] = failpoint
    return subprocess.Popen(
        [sys.executable, "-m", "tenant_migration_tests.recovery.backup_worker", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> int:
    _, errors = process.communicate(timeout=WORKER_TIMEOUT_S)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode


def let_server_notice(world: World) -> None:
    """Wait until the dead client's backends are gone."""
    deadline = time.monotonic() + 30
    while world.one(_WORKERS):
        assert time.monotonic() < deadline, "the dead worker's backend is still there"
        time.sleep(0.02)


def rows_in_relations(world: World) -> int:
    return sum(
        world.one(f"SELECT count(*) FROM tenant_migration.{relation}") for relation in backup_relations(world)
    )


@pytest.mark.parametrize("tenants", [None, ["alpha"]], ids=["whole", "tenant"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(
    claims: Claims, tmp_path: Path, point: str, tenants: list[str] | None
) -> None:
    if point == failpoints.BACKUP_RELATION_CREATED and tenants is None:
        tenants = ["alpha", "beta"]  # only backups of tenants have it
    world = claims(500)
    world.plan()
    chosen = [argument for tenant in tenants or () for argument in ("--tenant", tenant)]
    process = start(world, *chosen, "--directory", str(tmp_path), failpoint=point)
    assert finish(process) == -signal.SIGKILL, "the point was reached"
    let_server_notice(world)

    is_there = point in LEAVES_A_BACKUP
    listed = list_backups(world.connection)
    assert [backup.verified for backup in listed] == ([True] if is_there else [])
    assert (rows_in_relations(world) > 0) == is_there
    whole = [folder for folder in tmp_path.iterdir() if not folder.name.startswith(".")]
    assert len(whole) == (point == failpoints.BACKUP_EXPORTED), (
        "a folder with the final name is a whole export"
    )
    assert all((folder / "manifest.json").is_file() for folder in whole)

    again = back_up(world, tenants=tenants, directory=tmp_path)
    where = "true" if tenants is None else f"tenant_id IN ({', '.join(map(repr, tenants))})"
    assert copied_rows(world, again, TABLE) == rows_now(world, TABLE, where)
    assert list_backups(world.connection)[0].backup_id == again.backup_id
    assert not any(folder.name.startswith(".") for folder in tmp_path.iterdir())
    assert world.one("SELECT count(*) FROM tenant_migration.backups WHERE state = 'creating'") == 0
    outcomes = [outcome for outcome, _, _ in audit_of(world.connection, "backup")]
    assert outcomes == [("succeeded" if is_there else "failed"), "succeeded"], "who died is in the audit log"


def test_a_cleanup_clears_what_a_killed_backup_left(claims: Claims) -> None:
    world = claims(500)
    world.plan()
    assert finish(start(world, "--tenant", "alpha", failpoint=failpoints.BACKUP_BEFORE_COMMIT)) != 0
    let_server_notice(world)
    assert len(backup_relations(world)) == 1, "the empty relation for rows of tenants"
    cleanup_backups(world.connection, world.config, actor=ACTOR)
    assert backup_relations(world) == []
    assert world.sql("SELECT state, reason IS NOT NULL FROM tenant_migration.backups") == [("failed", True)]
    assert world.sql("SELECT state FROM tenant_migration.runs WHERE kind = 'backup'") == [("failed",)]


def test_a_backup_under_way_is_not_taken_for_abandoned(claims: Claims) -> None:
    """Another one and a cleanup run while the first is copying: it ends as if they had not."""
    world = claims(500)
    world.sql("CREATE FUNCTION public.slowly(value int) RETURNS text LANGUAGE plpgsql AS $$"
              " BEGIN PERFORM pg_sleep(0.05); RETURN value::text; END $$")  # fmt: skip
    world.sql("CREATE TYPE public.slow AS (value int)")
    world.sql(
        "CREATE FUNCTION public.slow_text(value public.slow) RETURNS text LANGUAGE sql AS"
        " 'SELECT public.slowly((value).value)'"
    )
    world.sql("CREATE CAST (public.slow AS text) WITH FUNCTION public.slow_text(public.slow)")
    world.sql("CREATE TABLE public.zebra (tenant_id text, value public.slow)")
    world.sql("INSERT INTO public.zebra SELECT 'alpha', ROW(i)::public.slow FROM generate_series(1, 30) AS i")
    world.plan()
    process = start(world)
    deadline = time.monotonic() + 30
    while not world.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list_backups(world.connection) == [], "one that is being made is none yet"
    cleanup_backups(world.connection, world.config, actor=ACTOR, days=0)
    second = back_up(world, tables=[TABLE])
    assert finish(process) == 0
    assert {backup.backup_id for backup in list_backups(world.connection)} == {1, second.backup_id}


def wait_until_it_works(world: World, process: subprocess.Popen[str]) -> None:
    """Wait until the worker is connected: what it did before is starting Python."""
    deadline = time.monotonic() + 60
    while not world.one(_WORKERS):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.faults
def test_killed_at_random_times(claims: Claims, tmp_path: Path) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.randrange(10**6))
    print(f"seed {seed}")  # noqa: T201 - repeats the failure with TENANT_MIGRATION_TEST_SEED
    chance = random.Random(seed)
    world = claims(200_000)
    world.plan()
    undisturbed = start(world, "--directory", str(tmp_path))
    wait_until_it_works(world, undisturbed)
    started = time.monotonic()
    assert finish(undisturbed) == 0
    longest_s = time.monotonic() - started
    kills = 0
    for _ in range(25):
        chosen = chance.choice(((), ("--tenant", "alpha"), ("--directory", str(tmp_path))))
        process = start(world, *chosen)
        wait_until_it_works(world, process)
        time.sleep(chance.uniform(0, longest_s * 0.8))
        process.kill()
        kills += finish(process) != 0
        let_server_notice(world)
        listed = list_backups(world.connection)
        assert all(backup.verified for backup in listed)
        complete = sum(backup.rows for backup in listed)
        assert rows_in_relations(world) == complete, "rows of a backup that is none"
    print(f"{kills} kills within {longest_s:.1f} s of work")  # noqa: T201
    assert kills > 5
    cleanup_backups(world.connection, world.config, actor=ACTOR, days=0)
    assert backup_relations(world) == []
