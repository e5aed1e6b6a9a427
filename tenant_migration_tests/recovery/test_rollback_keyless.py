"""Tables without a key: rows are known by where they are and who wrote them, or not told apart at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.recovery.conftest import roll_back

TABLE = "public.logs"


@pytest.fixture
def logs(world: World) -> World:
    world.sql("CREATE TABLE public.logs (n int, tenant_id text, note text) WITH (autovacuum_enabled = off)")
    world.sql(
        "INSERT INTO logs SELECT i, (ARRAY['alpha', 'beta', 'ALPHA'])[1 + i % 3], 'x'"
        " FROM generate_series(1, 600) i"
    )
    return world


@pytest.fixture
def application(world: World) -> Iterator[psycopg.Connection]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield connection


def still_set(world: World) -> list[int]:
    return [row[0] for row in world.sql("SELECT n FROM logs WHERE organization_id IS NOT NULL ORDER BY 1")]


def organization(world: World, tenant: str) -> object:
    return world.one("SELECT organization_id FROM tenant_org_mappings WHERE tenant_id = %s", tenant)


def open_entries(world: World) -> int:
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    return world.one(
        f"SELECT coalesce(sum(row_count - closed_rows), 0) FROM {journal} WHERE closed_at IS NULL"
    )


def test_untouched_rows_are_taken_back(logs: World) -> None:
    logs.migrate(TABLE, batch_size=50, adaptive=False)
    one = roll_back(logs, TABLE, tenants=["beta"])
    assert (one.rows_restored, one.restored_by_tenant) == (200, {"beta": 200})
    rest = roll_back(logs, TABLE)
    assert (rest.rows_restored, rest.rows_failed, rest.notes) == (400, 0, ())
    assert still_set(logs) == []
    assert open_entries(logs) == 0
    assert set(logs.states(TABLE).values()) == {"rolled_back"}
    assert logs.migrate(TABLE).rows_migrated == 600


def test_rows_that_the_application_changed_since_are_found_by_their_organization(
    logs: World, application: psycopg.Connection
) -> None:
    logs.migrate(TABLE, batch_size=50, adaptive=False)
    application.execute("UPDATE logs SET note = 'paid' WHERE n <= 300")
    application.execute("UPDATE logs SET tenant_id = 'beta' WHERE n = 3")
    application.execute("DELETE FROM logs WHERE n BETWEEN 10 AND 14")
    application.execute("UPDATE logs SET organization_id = NULL WHERE n = 20")
    result = roll_back(logs, TABLE)
    assert (result.rows_restored, result.rows_deleted, result.rows_failed) == (594, 6, 0)
    assert still_set(logs) == []
    assert open_entries(logs) == 0
    assert Counter(row.reason for row in result.left_alone) == {"deleted": 6}


def test_a_table_that_was_rewritten_is_taken_back(logs: World, application: psycopg.Connection) -> None:
    logs.migrate(TABLE, batch_size=50, adaptive=False)
    application.execute("DELETE FROM logs WHERE n % 7 = 0")
    application.execute("VACUUM FULL logs")
    result = roll_back(logs, TABLE, tenants=["alpha"])
    assert result.rows_expected == 200
    assert result.rows_restored == logs.one("SELECT count(*) FROM logs WHERE tenant_id = 'alpha'")
    result = roll_back(logs, TABLE)
    assert (result.rows_expected, result.rows_failed) == (400, 0)
    assert still_set(logs) == []


def test_rows_with_an_organization_that_the_application_wrote_too_are_left_and_listed(
    logs: World, application: psycopg.Connection
) -> None:
    """Untouched rows are exact all the same; of the others nobody can say which are ours."""
    logs.migrate(TABLE, batch_size=50, adaptive=False)
    application.execute("UPDATE logs SET note = 'paid' WHERE n <= 60")
    application.execute("INSERT INTO logs VALUES (1000, 'beta', 'new', %s)", (organization(logs, "beta"),))
    result = roll_back(logs, TABLE)
    assert (result.rows_restored, result.rows_failed, result.failed_by_tenant) == (580, 20, {"beta": 20})
    assert still_set(logs) == [n for n in range(1, 61) if n % 3 == 1] + [1000]
    assert {row.reason for row in result.left_alone} == {"failed"}
    assert "somebody else wrote the same organization" in str(result.left_alone[0].message)
    assert logs.states(TABLE)["beta"] == "failed"
    assert logs.states(TABLE)["alpha"] == "rolled_back"
    assert open_entries(logs) == 20
    assert roll_back(logs, TABLE).rows_failed == 20


def test_values_that_were_there_before_us_are_never_taken_for_ours(
    logs: World, application: psycopg.Connection
) -> None:
    logs.sql("ALTER TABLE logs ADD COLUMN organization_id uuid")
    logs.sql("UPDATE logs SET organization_id = %s WHERE n IN (1, 4)", organization(logs, "beta"))
    assert logs.migrate(TABLE).rows_migrated == 598
    application.execute("UPDATE logs SET note = 'paid' WHERE n <= 6")
    result = roll_back(logs, TABLE)
    assert (result.rows_restored, result.rows_failed) == (598, 0)
    assert still_set(logs) == [1, 4]


def test_tenants_of_one_organization_are_not_told_apart_but_taken_back_together(
    logs: World, application: psycopg.Connection
) -> None:
    logs.sql(
        "UPDATE tenant_org_mappings SET organization_id = %s WHERE tenant_id = 'ALPHA'",
        organization(logs, "alpha"),
    )
    logs.migrate(TABLE, batch_size=50, adaptive=False)
    application.execute("UPDATE logs SET note = 'paid' WHERE n <= 30")
    result = roll_back(logs, TABLE, tenants=["alpha"])
    assert (result.rows_restored, result.rows_failed) == (190, 10)
    assert "have the same organization" in str(result.left_alone[0].message)
    assert roll_back(logs, TABLE, tenants=["alpha", "ALPHA"]).rows_failed == 0
    assert roll_back(logs, TABLE).rows_restored == 200
    assert still_set(logs) == []


def test_without_the_claim_trigger_moved_rows_are_left_and_listed(
    logs: World, application: psycopg.Connection
) -> None:
    logs.migrate(TABLE, claim_trigger=False)
    application.execute("UPDATE logs SET note = 'paid' WHERE n <= 30")
    result = roll_back(logs, TABLE, claim_trigger=False)
    assert (result.rows_restored, result.rows_failed) == (570, 30)
    assert "no claim trigger is at work" in str(result.left_alone[0].message)


def test_partitions_without_a_key_are_taken_back_where_the_rows_are_now(world: World) -> None:
    world.sql("CREATE TABLE public.logs (n int, tenant_id text, note text) PARTITION BY LIST (note)")
    world.sql("CREATE TABLE public.logs_x PARTITION OF logs FOR VALUES IN ('x')")
    world.sql("CREATE TABLE public.logs_y PARTITION OF logs FOR VALUES IN ('y')")
    world.sql(
        "INSERT INTO logs SELECT i, 'alpha', (ARRAY['x', 'y'])[1 + i % 2] FROM generate_series(1, 200) i"
    )
    world.migrate(TABLE)
    with psycopg.connect(world.url, autocommit=True) as application:
        application.execute("ALTER TABLE logs DETACH PARTITION logs_y")
        application.execute("ALTER TABLE logs ATTACH PARTITION logs_y FOR VALUES IN ('y', 'z')")
        application.execute("UPDATE logs SET note = 'z' WHERE n <= 20 AND note = 'y'")
    result = roll_back(world, TABLE)
    assert (result.rows_restored, result.rows_failed) == (200, 0)
    assert still_set(world) == []


def test_a_row_that_moved_to_another_partition_is_left_and_says_why(world: World) -> None:
    """PostgreSQL deletes and inserts it: nothing tells it from a row that the application wrote itself."""
    world.sql("CREATE TABLE public.logs (n int, tenant_id text, note text) PARTITION BY LIST (note)")
    world.sql("CREATE TABLE public.logs_x PARTITION OF logs FOR VALUES IN ('x')")
    world.sql("CREATE TABLE public.logs_y PARTITION OF logs FOR VALUES IN ('y')")
    world.sql("INSERT INTO logs SELECT i, 'alpha', 'x' FROM generate_series(1, 20) i")
    world.migrate(TABLE)
    with psycopg.connect(world.url, autocommit=True) as application:
        application.execute("UPDATE logs SET note = 'y' WHERE n = 7")
    result = roll_back(world, TABLE)
    assert (result.rows_restored, result.rows_failed) == (19, 1)
    assert still_set(world) == [7]
    assert open_entries(world) == 1
    assert "moved a row with it to another partition" in str(result.left_alone[0].message)


@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel))
def test_writers_of_one_organization_neither_wait_for_each_other_nor_fail(
    logs: World, isolation: psycopg.IsolationLevel
) -> None:
    logs.migrate(TABLE, tenants=["alpha"])
    beta = organization(logs, "beta")
    with (
        psycopg.connect(logs.url) as one,
        psycopg.connect(logs.url) as other,
        psycopg.connect(logs.url) as late,
    ):
        for writer in (one, other, late):
            writer.isolation_level = isolation
            writer.execute("SET lock_timeout = '2s'")
            writer.execute("SELECT FROM organizations")  # its snapshot is older than the others' claims
        one.execute("INSERT INTO logs VALUES (1001, 'beta', 'new', %s)", (beta,))
        other.execute("INSERT INTO logs VALUES (1002, 'beta', 'new', %s)", (beta,))
        one.commit()
        other.commit()
        late.execute("INSERT INTO logs VALUES (1003, 'beta', 'new', %s)", (beta,))
    claimed = logs.sql(f"SELECT DISTINCT organization_id FROM tenant_migration.claims_{logs.table_id(TABLE)}")
    assert claimed == [(beta,)]
    assert roll_back(logs, TABLE).rows_restored == 200
    assert still_set(logs) == [1001, 1002, 1003]
