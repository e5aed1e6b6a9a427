"""The audit log: nobody changes the past unseen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tenant_migration import __version__
from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.connection import connect, transaction
from tenant_migration.database.install import install
from tenant_migration_tests.database.scene import Scene
from tenant_migration_tests.servers import OWNER, Server

APPEND_ONLY = "TM005"


@pytest.fixture
def ours(scene: Scene, database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        yield connection


def chain(scene: Scene) -> tuple[int | None, int, str]:
    (row,) = scene.rows("SELECT first_bad_seq, entries, head FROM tenant_migration.verify_audit_chain()")
    return row[0], row[1], row[2]


def append(connection: psycopg.Connection, count: int = 5) -> None:
    for number in range(count):
        audit.record(
            connection, operation="migrate", actor="anna", outcome="succeeded", counts={"rows": number}
        )


def test_a_record_says_who_what_and_how_it_ended(scene: Scene, ours: psycopg.Connection) -> None:
    audit.record(
        ours,
        operation="migrate",
        actor="anna",
        outcome="failed",
        run_id=7,
        table="public.claims",
        tenant_id="o'brien",
        counts={"rows": 12},
        duration_ms=1234.6,
        detail={"reason": "a 'quoted' one", "nested": [1, None]},
    )
    (row,) = scene.rows(
        "SELECT seq, operation, actor, database_role, run_id, table_name, tenant_id, outcome, "
        "counts, duration_ms, "
        "detail, tool_version, clock_timestamp() - occurred_at < interval '1 minute' FROM migration_audit_log"
    )
    assert row == (
        1, "migrate", "anna", OWNER, 7, "public.claims", "o'brien", "failed", {"rows": 12}, 1235,
        {"reason": "a 'quoted' one", "nested": [1, None]}, __version__, True,
    )  # fmt: skip


def test_an_empty_log_is_sound(scene: Scene) -> None:
    assert chain(scene) == (None, 0, "0" * 64)


def test_the_chain_is_sound_whatever_the_session_is_set_to(scene: Scene, ours: psycopg.Connection) -> None:
    append(ours)
    sound = chain(scene)
    assert (sound[0], sound[1], len(sound[2])) == (None, 5, 64)
    scene.execute("SET timezone = 'Asia/Tokyo'")
    scene.execute("SET datestyle = 'German'")
    scene.execute("SET intervalstyle = 'sql_standard'")
    assert chain(scene) == sound


def test_the_owner_cannot_change_the_past(scene: Scene, ours: psycopg.Connection) -> None:
    append(ours)
    before = scene.rows("SELECT * FROM migration_audit_log ORDER BY seq")
    for change in (
        "UPDATE migration_audit_log SET outcome = 'succeeded'",
        "UPDATE migration_audit_log SET outcome = 'succeeded' WHERE false",
        "DELETE FROM migration_audit_log WHERE seq = 2",
        "TRUNCATE migration_audit_log",
        (
            "MERGE INTO migration_audit_log l USING (SELECT 2 AS seq) s ON l.seq = s.seq WHEN MATCHED "
            "THEN DELETE"
        ),
        "UPDATE tenant_migration.migration_audit_log SET actor = 'somebody else'",
    ):
        with pytest.raises(psycopg.DatabaseError, match="append only") as raised:
            scene.execute(change)
        assert raised.value.sqlstate == APPEND_ONLY
    assert scene.rows("SELECT * FROM migration_audit_log ORDER BY seq") == before


def test_a_superuser_under_replica_role_cannot_either(
    scene: Scene, ours: psycopg.Connection, server: Server
) -> None:
    append(ours)
    name = scene.value("SELECT current_database()")
    with psycopg.connect(server.superuser_url(name), autocommit=True) as administrator:
        administrator.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.DatabaseError, match="append only"):
            administrator.execute("UPDATE public.migration_audit_log SET actor = 'nobody'")


def test_an_edit_behind_the_triggers_is_found(scene: Scene, ours: psycopg.Connection) -> None:
    append(ours)
    scene.execute("ALTER TABLE migration_audit_log DISABLE TRIGGER append_only")
    for edit, first_bad in (
        ("UPDATE migration_audit_log SET counts = '{\"rows\": 99}' WHERE seq = 3", 3),
        (
            (
                "UPDATE migration_audit_log SET occurred_at = occurred_at + interval '1 microsecond' "
                "WHERE seq = 1"
            ),
            1,
        ),
        ("UPDATE migration_audit_log SET tenant_id = 'x' WHERE seq = 5", 5),
        ("UPDATE migration_audit_log SET database_role = 'bob' WHERE seq = 2", 2),
        ("DELETE FROM migration_audit_log WHERE seq = 2", 3),
        ("DELETE FROM migration_audit_log WHERE seq = 1", 2),
        # Edited with a new seal: the successor gives it away.
        (
            "UPDATE migration_audit_log SET actor = 'bob', hash = "
            "tenant_migration.audit_hash(prev_hash, seq, "
            "occurred_at, operation, 'bob', database_role, run_id, table_name, tenant_id, outcome, counts, "
            "duration_ms, detail, tool_version) WHERE seq = 3",
            4,
        ),
    ):
        with scene.connection.transaction(force_rollback=True):
            assert chain(scene)[0] is None
            scene.execute(edit)
            assert chain(scene)[0] == first_bad, edit


def test_a_cut_tail_is_found_by_the_anchor(scene: Scene, ours: psycopg.Connection) -> None:
    append(ours)
    anchor = chain(scene)
    scene.execute("ALTER TABLE migration_audit_log DISABLE TRIGGER append_only")
    scene.execute("DELETE FROM migration_audit_log WHERE seq = 5")
    first_bad, entries, head = chain(scene)
    assert first_bad is None
    assert (entries, head) != anchor[1:]


def test_a_row_inserted_by_hand_is_sealed_too_and_cannot_lie_about_who(
    scene: Scene, ours: psycopg.Connection
) -> None:
    append(ours)
    scene.execute(
        "INSERT INTO migration_audit_log (seq, occurred_at, operation, actor, database_role, "
        "outcome, prev_hash, hash) "
        "SELECT g, '2001-01-01', 'x', 'x', 'postgres', 'x', 'x' || g, 'x' FROM generate_series(70, 72) g"
    )
    assert chain(scene)[:2] == (None, 8)
    assert scene.rows(
        "SELECT DISTINCT database_role, occurred_at > now() - interval '1 minute' FROM migration_audit_log"
    ) == [(OWNER, True)]


def test_writers_at_once_make_one_chain(scene: Scene, database: str) -> None:
    def write(_: int) -> None:
        with connect(database) as connection:
            append(connection, 20)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert chain(scene)[:2] == (None, 120)


def test_a_stale_snapshot_cannot_fork_the_chain(
    scene: Scene, ours: psycopg.Connection, database: str
) -> None:
    with (  # noqa: PT012
        connect(database) as other,
        pytest.raises(psycopg.errors.UniqueViolation),
        transaction(ours, isolation="repeatable read"),
    ):
        ours.execute("SELECT 1")
        append(other, 1)
        append(ours, 1)
    assert chain(scene)[:2] == (None, 1)


def test_what_is_rolled_back_leaves_no_gap(scene: Scene, ours: psycopg.Connection) -> None:
    append(ours, 1)
    with pytest.raises(RuntimeError), transaction(ours):  # noqa: PT012
        append(ours, 3)
        raise RuntimeError
    append(ours, 1)
    assert chain(scene)[:2] == (None, 2)


def test_a_restored_dump_is_sound_and_goes_on(
    scene: Scene, ours: psycopg.Connection, server: Server, database: str
) -> None:
    scene.map("acme", "globex")
    append(ours)
    programs = server.embedded.programs
    text = subprocess.check_output([programs / "pg_dump", "-d", database])
    name = server.create_database()
    try:
        url = server.url(name)
        subprocess.run(
            [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
            input=text,
            check=True,
            capture_output=True,
        )
        with connect(url) as restored:
            install(restored, MigrationConfig())
            there = Scene(restored)
            assert chain(there) == chain(scene)
            append(restored, 1)
            assert chain(there)[:2] == (None, 6)
            numbers = "SELECT tenant_id, tenant_number FROM tenant_migration.tenants ORDER BY 1"
            assert there.rows(numbers) == scene.rows(numbers)
    finally:
        server.drop_database(name)
