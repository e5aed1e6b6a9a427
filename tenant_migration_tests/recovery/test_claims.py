"""The claim trigger: what the application wrote itself is the application's, also the same value."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tenant_migration.planning.drift import refuse_if_changed
from tenant_migration_tests.backfill.conftest import World, table_of
from tenant_migration_tests.recovery.conftest import roll_back
from tenant_migration_tests.servers import OWNER, Server


@pytest.fixture
def application(world: World) -> Iterator[psycopg.Connection]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield connection


def claimed(world: World) -> list[int]:
    rows = world.sql(
        f"SELECT key_1 FROM tenant_migration.claims_{world.table_id('public.claims')} ORDER BY 1"
    )
    return [row[0] for row in rows]


def with_organization(world: World) -> list[int]:
    return [row[0] for row in world.sql("SELECT id FROM claims WHERE organization_id IS NOT NULL ORDER BY 1")]


def test_the_same_value_written_by_the_application_stays(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    ours = world.one("SELECT organization_id FROM claims WHERE id = 10")
    application.execute("UPDATE claims SET organization_id = NULL WHERE id IN (10, 11)")
    application.execute("UPDATE claims SET organization_id = %s WHERE id = 10", (ours,))
    application.execute("UPDATE claims SET organization_id = organization_id, title = 'saved' WHERE id = 12")
    assert claimed(world) == [10, 11]
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (37, 2, 0)
    assert with_organization(world) == [10]
    assert {(row.row_key["id"], row.reason, row.found_value) for row in result.left_alone} == {
        ("10", "changed", str(ours)),
        ("11", "changed", None),
    }
    assert result.notes == ()


def test_a_row_that_comes_back_under_the_same_key_is_not_ours(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    row = application.execute(
        "DELETE FROM claims WHERE id = 7 RETURNING tenant_id, organization_id"
    ).fetchone()
    assert row is not None
    application.execute(
        "INSERT INTO claims (id, tenant_id, title, organization_id) VALUES (7, %s, 'new', %s)", row
    )
    application.execute("DELETE FROM claims WHERE id = 8")
    application.execute("UPDATE claims SET id = 1000 WHERE id = 9")
    application.execute("UPDATE claims SET id = 9 WHERE id = 12")
    assert claimed(world) == [7, 8, 9, 12]
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (35, 2, 2)
    assert with_organization(world) == [7, 9, 1000]


def test_rows_with_another_key_keep_our_value_and_are_named(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    application.execute("UPDATE claims SET id = 1000 WHERE id = 9")
    application.execute("DELETE FROM claims WHERE id = 10")
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_deleted) == (37, 2)
    assert with_organization(world) == [1000]
    assert result.notes == (
        "1 row was given another key by the application and keeps what was written: id=9 is id=1000 now",
    )


def test_a_key_that_was_left_twice_names_the_row_that_we_wrote(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    application.execute("UPDATE claims SET id = 1000 WHERE id = 9")
    application.execute("INSERT INTO claims (id, tenant_id) SELECT 9, tenant_id FROM claims WHERE id = 10")
    application.execute("UPDATE claims SET id = 2000 WHERE id = 9")  # no batch since: the first move counts
    assert world.migrate("public.claims").rows_migrated == 1
    application.execute("UPDATE claims SET id = 3000 WHERE id = 2000")
    result = roll_back(world, "public.claims")
    assert result.notes == (
        "2 rows were given another key by the application and keep what was written: id=2000 is id=3000 now, "
        "id=9 is id=1000 now",
    )


def test_what_was_migrated_again_after_a_claim_is_ours_again(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    application.execute("UPDATE claims SET organization_id = NULL WHERE id BETWEEN 10 AND 19")
    assert world.migrate("public.claims").rows_migrated == 10
    result = roll_back(world, "public.claims")
    assert (result.rows_expected, result.rows_restored, result.rows_changed) == (49, 39, 10)
    assert with_organization(world) == []


def test_a_value_that_a_trigger_of_the_application_sets_is_a_claim(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    """An UPDATE need not name the column to change it."""
    world = claims(40)
    world.migrate("public.claims")
    application.execute(
        "CREATE FUNCTION take_away() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.organization_id := NULL; RETURN NEW; END $$"
    )
    application.execute(
        "CREATE TRIGGER take_away BEFORE UPDATE OF title ON claims FOR EACH ROW EXECUTE FUNCTION take_away()"
    )
    application.execute("UPDATE claims SET title = 'x' WHERE id = 10")
    assert claimed(world) == [10]


def test_a_role_without_rights_on_our_schema_can_write_and_claims(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    table_id = world.table_id("public.claims")
    world.sql("CREATE SCHEMA hostile; CREATE TABLE hostile.claims (id bigint)")
    assert not world.one(
        "SELECT has_function_privilege('public', %s, 'EXECUTE')", f"tenant_migration.claim_{table_id}()"
    )
    assert world.sql("SELECT prosecdef, proconfig FROM pg_proc WHERE proname = %s", f"claim_{table_id}") == [
        (True, ["search_path=pg_catalog, pg_temp"])
    ]
    assert world.one(
        "SELECT relrowsecurity AND relacl IS NULL OR NOT EXISTS (SELECT FROM aclexplode(relacl) a"
        " WHERE a.grantee <> relowner) FROM pg_class WHERE relname = %s",
        f"claims_{table_id}",
    )


def test_the_trigger_is_no_hazard_and_no_fact_of_the_plan(claims: Callable[[int], World]) -> None:
    world = claims(40)
    plan = world.plan()
    before = table_of(plan, "public.claims")
    world.migrate("public.claims")
    assert world.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tenant_migration_claim%%'") == 3
    refuse_if_changed(world.connection, world.config, before)
    after = table_of(world.plan(), "public.claims")
    assert [hazard for hazard in after.hazards if "trigger" in hazard.name] == []
    assert after.table_hash == before.table_hash


def test_without_the_setting_there_is_no_trigger_and_the_result_says_so(
    claims: Callable[[int], World],
) -> None:
    world = claims(40)
    assert world.migrate("public.claims", claim_trigger=False).waiting == ()
    assert world.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tenant_migration_claim%%'") == 0
    result = roll_back(world, "public.claims", claim_trigger=False)
    assert result.rows_restored == 39
    assert len(result.notes) == 1
    assert "No claim trigger is at work" in result.notes[0]


def test_where_the_role_may_not_create_it_the_run_goes_on_and_says_so(
    claims: Callable[[int], World],
) -> None:
    world = claims(40)
    world.sql("ALTER TABLE claims ADD COLUMN organization_id uuid REFERENCES organizations")
    world.sql("CREATE INDEX ON claims (organization_id)")
    world.sql("REVOKE TRIGGER ON claims FROM CURRENT_USER")
    result = world.migrate("public.claims")
    assert result.rows_migrated == 39
    assert len(result.waiting) == 1
    assert "may not create triggers on public.claims" in result.waiting[0]
    assert world.one("SELECT count(*) FROM tenant_migration.created_objects WHERE kind = 'trigger'") == 0
    world.sql("GRANT TRIGGER ON claims TO CURRENT_USER")
    assert world.migrate("public.claims").waiting == ()
    assert world.one("SELECT count(*) FROM tenant_migration.created_objects WHERE kind = 'trigger'") == 3


@pytest.mark.parametrize("lock_timeout_ms", [100, 10_000])
def test_a_claim_of_the_very_moment_is_seen(
    claims: Callable[[int], World], application: psycopg.Connection, lock_timeout_ms: int
) -> None:
    """The application holds the row when we come and commits while we wait: its claim is newer than our look.

    With a short timeout we come back and know the claim; with a long one the row is reset first, and that is
    taken back.
    """
    world = claims(200)
    world.migrate("public.claims")
    ours = world.one("SELECT organization_id FROM claims WHERE id = 10")
    application.autocommit = False
    application.execute("UPDATE claims SET organization_id = NULL WHERE id = 10")
    application.execute("UPDATE claims SET organization_id = %s WHERE id = 10", (ours,))
    with commits_after_we_wait(world, application):
        result = roll_back(world, "public.claims", lock_timeout_ms=lock_timeout_ms)
    assert (result.rows_restored, result.rows_changed) == (191, 1)
    assert with_organization(world) == [10]


@contextmanager
def commits_after_we_wait(world: World, application: psycopg.Connection) -> Iterator[None]:
    """Commit the application's transaction once somebody waits for its locks."""
    waited: list[bool] = []
    pid = application.info.backend_pid

    def commit() -> None:
        with psycopg.connect(world.url, autocommit=True) as watcher:
            deadline = time.monotonic() + 20
            while not waited and time.monotonic() < deadline:
                blocked = watcher.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", (pid,)
                ).fetchone()
                if blocked and blocked[0]:
                    waited.append(True)
                time.sleep(0.01)
        application.commit()

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert waited, "nobody waited for the application"


@pytest.mark.parametrize("column", ["id", "organization_id"])
def test_a_column_that_was_renamed_stops_no_write_of_the_application(
    claims: Callable[[int], World], application: psycopg.Connection, column: str
) -> None:
    world = claims(40)
    world.migrate("public.claims")
    application.execute(f"ALTER TABLE claims RENAME COLUMN {column} TO renamed")
    organization = "renamed" if column == "organization_id" else "organization_id"
    assert application.execute(f"UPDATE claims SET {organization} = NULL").rowcount == 40
    assert application.execute("DELETE FROM claims").rowcount == 40


def as_replica(server: Server, world: World, statement: str) -> None:
    """Write as logical replication does, and loaders that want no triggers."""
    name = conninfo_to_dict(world.url)["dbname"]
    with psycopg.connect(server.superuser_url(str(name)), autocommit=True) as applier:
        applier.execute("SET session_replication_role = replica")
        applier.execute(statement.encode())


def test_what_is_written_under_replica_is_claimed_too(claims: Callable[[int], World], server: Server) -> None:
    world = claims(40)
    assert world.migrate("public.claims").waiting == ()
    as_replica(server, world, "UPDATE claims SET organization_id = NULL WHERE id IN (10, 11)")
    as_replica(
        server,
        world,
        "UPDATE claims SET organization_id = (SELECT organization_id FROM tenant_org_mappings AS m"
        " WHERE m.tenant_id = claims.tenant_id) WHERE id = 10",
    )
    as_replica(server, world, "DELETE FROM claims WHERE id = 12")
    assert claimed(world) == [10, 11, 12]
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (36, 2, 1)
    assert with_organization(world) == [10]


def test_where_the_role_is_not_the_owner_it_says_what_the_trigger_does_not_see(
    claims: Callable[[int], World], server: Server
) -> None:
    world = claims(40)
    world.sql("ALTER TABLE claims ADD COLUMN organization_id uuid REFERENCES organizations")
    world.sql("CREATE INDEX ON claims (organization_id)")
    name = conninfo_to_dict(world.url)["dbname"]
    with psycopg.connect(server.superuser_url(str(name)), autocommit=True) as superuser:
        superuser.execute("ALTER TABLE claims OWNER TO CURRENT_USER")
        superuser.execute(f"GRANT SELECT, UPDATE, REFERENCES, TRIGGER ON claims TO {OWNER}")
    for _ in range(2):
        [waiting] = world.migrate("public.claims").waiting
        assert "does not own public.claims" in waiting
        assert "ENABLE ALWAYS TRIGGER" in waiting
    with psycopg.connect(server.superuser_url(str(name)), autocommit=True) as superuser:
        for event in ("update", "delete", "truncate"):
            superuser.execute(f"ALTER TABLE claims ENABLE ALWAYS TRIGGER tenant_migration_claim_{event}")
    assert world.migrate("public.claims").waiting == ()
