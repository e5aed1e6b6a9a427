"""SIGKILL of a rollback at each of its points: a row has our value exactly when its entry is open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration_tests.backfill.conftest import TENANTS, World
from tenant_migration_tests.backfill.test_kills import finish, let_server_notice
from tenant_migration_tests.recovery.conftest import roll_back

pytestmark = pytest.mark.newest_server_by_default

ROOT = Path(__file__).parents[2]
TABLE = "public.claims"
ROWS = 1_500

# Points that are reached several times: before anything, and in the middle.
POINTS = [
    failpoints.ROLLBACK_CREATED,
    failpoints.ROLLBACK_LEASE_ACQUIRED,
    failpoints.ROLLBACK_PAIRS_STARTED,
    failpoints.ROLLBACK_CURSORS_DROPPED,
    failpoints.ROLLBACK_KEPT_CLOSED,
    f"{failpoints.ROLLBACK_BATCH_DIVIDED}:2",
    f"{failpoints.ROLLBACK_ROWS_RESET}:3",
    f"{failpoints.ROLLBACK_BEFORE_COMMIT}:1",
    f"{failpoints.ROLLBACK_BEFORE_COMMIT}:5",
    f"{failpoints.ROLLBACK_AFTER_COMMIT}:1",
    f"{failpoints.ROLLBACK_AFTER_COMMIT}:6",
    failpoints.ROLLBACK_ROW_FAILED,
    failpoints.ROLLBACK_COUNTED,
    f"{failpoints.STATE_BEFORE_COMMIT}:1",
    f"{failpoints.STATE_BEFORE_COMMIT}:2",
    failpoints.ROLLBACK_PAIRS_ENDED,
]


def start(world: World, failpoint: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, DATABASE_URL_VARIABLE: world.url}
    environment.pop(failpoints.VARIABLE, None)
    if failpoint:
        environment[failpoints.VARIABLE] = failpoint
    return subprocess.Popen(
        [sys.executable, "-m", "tenant_migration_tests.recovery.rollback_worker", TABLE],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def migrated(world: World) -> World:
    """A migrated table with kept values, and one row that cannot be reset."""
    world.sql("CREATE TABLE claims (id bigint PRIMARY KEY, tenant_id text, organization_id uuid)")
    world.connection.execute(
        "INSERT INTO claims SELECT i, (%s::text[])[1 + i %% %s] FROM generate_series(1, %s) AS i",
        (list(TENANTS), len(TENANTS), ROWS),
    )
    world.sql("INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'of the application')")
    world.sql(
        "UPDATE claims SET organization_id = o.id FROM organizations o"
        " WHERE o.name = 'of the application' AND claims.id <= 5"
    )
    world.migrate(TABLE, batch_size=400, adaptive=False, on_existing_value="keep")
    world.sql(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'row % is sealed', OLD.id; END $$"
    )
    world.sql(
        "CREATE TRIGGER hold BEFORE UPDATE ON claims FOR EACH ROW WHEN (OLD.id = 700) EXECUTE FUNCTION hold()"
    )
    return world


def assert_rows_and_journal_agree(world: World) -> None:
    """Our value stands in a row exactly when one open entry names it."""
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    entries = (
        f"SELECT e.key AS id FROM {journal} j CROSS JOIN LATERAL unnest(j.key_1, j.tenant_numbers)"
        " AS e (key, number) WHERE j.phase <> 'kept' AND j.closed_at IS NULL"
        " AND e.number <> ALL (j.closed_tenants)"
    )
    assert world.one(f"SELECT count(*) - count(DISTINCT id) FROM ({entries}) AS e") == 0
    ours = "SELECT id FROM claims WHERE organization_id IS NOT NULL AND id > 5"
    assert world.sql(f"({entries} EXCEPT {ours}) UNION ALL ({ours} EXCEPT {entries})") == []
    assert world.one(f"SELECT sum(row_count) FROM {journal}") >= ROWS


@pytest.mark.parametrize("failpoint", POINTS)
def test_killed_anywhere_the_next_rollback_does_what_is_left(migrated: World, failpoint: str) -> None:
    assert finish(start(migrated, failpoint)) == -signal.SIGKILL
    let_server_notice(migrated)
    assert_rows_and_journal_agree(migrated)
    migrated.sql("DROP TRIGGER hold ON claims")
    result = roll_back(migrated, TABLE, on_existing_value="keep", on_triggers="fire")
    assert result.rows_expected == result.rows_restored
    assert migrated.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 5
    assert set(migrated.states(TABLE).values()) == {"rolled_back"}
    assert_rows_and_journal_agree(migrated)
    again = migrated.migrate(TABLE, on_existing_value="keep", on_triggers="fire")
    assert (again.rows_migrated, again.rows_remaining) == (ROWS - 5, 0)


def test_every_point_of_a_rollback_is_tested() -> None:
    points = {name for name in failpoints.NAMES if name.startswith("rollback_")}
    assert {point.partition(":")[0] for point in POINTS} - {failpoints.STATE_BEFORE_COMMIT} == points
