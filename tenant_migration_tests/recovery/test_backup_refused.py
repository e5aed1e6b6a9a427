"""What keeps a backup from starting, or ends it: said with the way out, and nothing is left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_migration.backfill.results import Progress
from tenant_migration.database.connection import connect
from tenant_migration.errors import OperationFailed, Refused, RunStopped, UnknownTable, UnknownTenant
from tenant_migration.planning.storage import load_plan
from tenant_migration.recovery.backups.columns import read_source
from tenant_migration.recovery.backups.manifest import register
from tenant_migration.recovery.backups.space import Space
from tenant_migration.workflow.backup import list_backups, take_backup
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of
from tenant_migration_tests.recovery.backup_scene import (
    TABLE,
    audit_of,
    back_up,
    backup_relations,
    copied_rows,
    in_background,
    rows_now,
)
from tenant_migration_tests.servers import OWNER, Server

Claims = Callable[[int], World]


def assert_nothing_is_left(world: World) -> None:
    assert list_backups(world.connection) == []
    assert [name for name in backup_relations(world) if not name.startswith("backup_rows_")] == []
    assert world.one("SELECT count(*) FROM tenant_migration.backups WHERE state = 'creating'") == 0
    assert world.one("SELECT count(*) FROM tenant_migration.long_statements") == 0


def test_a_name_that_is_not_known(claims: Claims) -> None:
    world = claims(50)
    with pytest.raises(UnknownTable, match="claimz"):
        back_up(world, tables=["claimz"])
    with pytest.raises(UnknownTenant, match="nosuch"):
        back_up(world, tenants=["nosuch"])
    assert_nothing_is_left(world)


@pytest.mark.parametrize("tenants", [None, ["alpha"]])
def test_row_security_that_would_hide_rows_is_refused(claims: Claims, tenants: list[str] | None) -> None:
    world = claims(70)
    plan = world.plan()
    world.sql("CREATE POLICY alpha ON public.claims USING (tenant_id = 'alpha')")
    world.sql("ALTER TABLE public.claims ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match=r"public\.claims: row security applies to role app_owner"):
        take_backup(world.connection, world.config, plan, actor=ACTOR, tenants=tenants)
    assert_nothing_is_left(world)
    assert [outcome for outcome, _, _ in audit_of(world.connection, "backup")] == ["failed"]
    world.sql("ALTER TABLE public.claims NO FORCE ROW LEVEL SECURITY")
    backup = take_backup(world.connection, world.config, plan, actor=ACTOR, tenants=tenants)
    assert backup.rows > 0, "the owner sees every row where it is not forced"


def test_row_security_of_a_partitioned_root_is_refused(world: World) -> None:
    world.sql("CREATE TABLE public.events (id int, tenant_id text) PARTITION BY RANGE (id)")
    world.sql("CREATE TABLE public.events_all PARTITION OF public.events DEFAULT")
    world.sql("INSERT INTO public.events VALUES (1, 'alpha')")
    plan = world.plan()
    world.sql("CREATE POLICY nobody ON public.events USING (false)")
    world.sql("ALTER TABLE public.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match=r"public\.events: row security applies"):
        take_backup(world.connection, world.config, plan, actor=ACTOR)


@pytest.fixture
def application_role(server: Server, world: World) -> Iterator[str]:
    """A login that default privileges give every right on new tables, and that owns nothing."""
    name = f"app_user_{world.connection.info.dbname}"
    role = sql.Identifier(name)
    with psycopg.connect(server.superuser_url(world.connection.info.dbname), autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        superuser.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT ALL ON TABLES TO PUBLIC, {}").format(
                sql.Identifier(OWNER), role
            )
        )
        # Whoever opened the schema by mistake too: the rights on the tables themselves must not be there.
        superuser.execute(sql.SQL("GRANT USAGE ON SCHEMA tenant_migration TO {}").format(role))
        yield name
        superuser.execute(sql.SQL("DROP OWNED BY {}").format(role))
        superuser.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE ALL ON TABLES FROM PUBLIC, {}").format(
                sql.Identifier(OWNER), role
            )
        )
        superuser.execute(sql.SQL("DROP ROLE {}").format(role))


def test_an_application_role_with_default_privileges_reads_no_backup(
    server: Server, claims: Claims, application_role: str
) -> None:
    world = claims(70)
    back_up(world)
    back_up(world, tenants=["alpha"])
    relations = backup_relations(world)
    assert len(relations) == 2
    granted = world.sql(
        "SELECT c.relname::text, a.grantee::text FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a"
        " WHERE c.relname = ANY (%s) AND a.grantee <> c.relowner",
        relations,
    )
    assert granted == []
    world.sql("CREATE TABLE public.proof_of_default_privileges (id int)")
    with psycopg.connect(
        server.url(world.connection.info.dbname, application_role), autocommit=True
    ) as application:
        assert application.execute("SELECT count(*) FROM public.proof_of_default_privileges").fetchone()
        for relation in [*relations, "backups", "backed_up_tables"]:
            for statement in ("SELECT * FROM {}", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    application.execute(
                        sql.SQL(statement).format(sql.Identifier("tenant_migration", relation))
                    )


def test_a_member_of_the_owner_makes_backups_that_every_member_can_use(
    server: Server, claims: Claims
) -> None:
    world = claims(70)
    plan = world.plan()
    member = f"member_{world.connection.info.dbname}"
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(
            sql.Identifier(member), sql.Identifier(OWNER)
        ))  # fmt: skip
    with connect(server.url(world.connection.info.dbname, member)) as connection:
        whole = take_backup(connection, world.config, plan, actor="member")
        some = take_backup(connection, world.config, plan, actor="member", tenants=["alpha"])
    owners = world.sql(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname = ANY (%s)",
        backup_relations(world),
    )
    assert owners == [(OWNER,)]
    assert copied_rows(world, whole, TABLE) == rows_now(world, TABLE)
    assert copied_rows(world, some, TABLE) == rows_now(world, TABLE, "tenant_id = 'alpha'")
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(member)))


SLOW = """
CREATE TYPE public.place AS (street text);
CREATE FUNCTION public.slowly(place public.place) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM pg_sleep(0.1);
    RETURN (place).street;
END $$;
CREATE CAST (public.place AS text) WITH FUNCTION public.slowly(public.place);
CREATE TABLE public.slow (tenant_id text, home public.place);
INSERT INTO public.slow SELECT 'alpha', ROW('street ' || i)::public.place FROM generate_series(1, 300) AS i;
"""
"""Half a minute to read its values: time for whoever wants to stop it."""


@pytest.mark.parametrize("tenants", [None, ["alpha"]], ids=["whole", "tenant"])
@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (
            "UPDATE tenant_migration.settings SET emergency_stop = true",
            "emergency switch; nothing of it is kept",
        ),
        (
            "UPDATE tenant_migration.runs SET state = 'cancelled' WHERE state = 'running'",
            "cancelled; nothing of it is kept",
        ),
    ],
    ids=["emergency", "cancel"],
)
def test_a_running_backup_is_stopped_on_the_server(
    world: World, tenants: list[str] | None, stop: str, message: str
) -> None:
    world.connection.execute(SLOW)
    plan = world.plan()

    def back_up_and_be_stopped(connection: psycopg.Connection) -> None:
        with pytest.raises(RunStopped, match=message):
            take_backup(connection, world.config, plan, actor=ACTOR, tenants=tenants)

    with in_background(world.url, back_up_and_be_stopped) as errors:
        wait_for(world, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        assert world.sql("SELECT statement FROM tenant_migration.long_statements") == [
            ("backup 1 of public.slow",)
        ]
        stopped_at = time.monotonic()
        world.sql(stop)
        wait_for(world, "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        assert time.monotonic() - stopped_at < 4, "within a look of half a second; the machine may be busy"
    assert errors == []
    assert_nothing_is_left(world)
    assert world.sql("SELECT state FROM tenant_migration.runs WHERE kind = 'backup'") == [("cancelled",)]
    assert [outcome for outcome, _, _ in audit_of(world.connection, "backup")] == ["cancelled"]


def test_no_backup_starts_while_the_emergency_switch_is_set(claims: Claims) -> None:
    world = claims(70)
    world.sql("UPDATE tenant_migration.settings SET emergency_stop = true")
    with pytest.raises(Refused, match=r"the emergency switch is set.*nothing may start.*resume"):
        back_up(world)
    assert_nothing_is_left(world)
    assert world.one("SELECT count(*) FROM tenant_migration.backups") == 0
    world.sql("UPDATE tenant_migration.settings SET emergency_stop = false")
    assert back_up(world).verified


def wait_for(world: World, count: str) -> None:
    deadline = time.monotonic() + 20
    while not world.one(count):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_table_that_stays_locked_ends_the_backup_with_its_name(claims: Claims) -> None:
    world = claims(70)
    world.plan()
    plan = load_plan(world.connection)
    with psycopg.connect(world.url) as application:
        application.execute("LOCK TABLE public.claims IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationFailed, match=r"public\.claims: another session keeps it locked"):
            take_backup(world.connection, world.config, plan, actor=ACTOR)
    assert_nothing_is_left(world)


def test_max_bytes_is_refused_with_the_numbers_before_anything_is_made(claims: Claims) -> None:
    world = claims(2000)
    size = back_up(world).size_bytes
    world.settings = {"backups": {"max_bytes": size + 1000}}
    with pytest.raises(Refused, match=rf"backups take .*max_bytes is {size + 1000:,}"):
        back_up(world)
    assert len(list_backups(world.connection)) == 1
    assert world.one("SELECT count(*) FROM tenant_migration.backups") == 1
    world.settings = {"backups": {"max_bytes": 10 * size}}
    assert f"max_bytes is {10 * size:,}" in back_up(world).space


def test_two_backups_at_once_do_not_exceed_max_bytes_together(claims: Claims) -> None:
    """The second one looks while the first is being made, whose relations nobody sees yet."""
    world = claims(2000)
    plan, size = world.plan(), world.one("SELECT pg_table_size('public.claims')")
    world.settings = {"backups": {"max_bytes": int(1.5 * size)}}
    refused: list[str] = []

    def back_up_too(_: Progress) -> None:
        with connect(world.url) as another, pytest.raises(Refused, match="are being made") as caught:
            take_backup(another, world.config, plan, actor=ACTOR)
        refused.append(str(caught.value))

    assert take_backup(world.connection, world.config, plan, actor=ACTOR, progress=back_up_too).verified
    assert len(refused) == 1
    world.sql("UPDATE tenant_migration.backups SET state = 'creating', bytes_expected = %s", size)
    with pytest.raises(Refused, match="are being made"):  # registered after the first look
        register(
            world.connection,
            [read_source(world.connection, table_of(plan, TABLE), world.table_id(TABLE))],
            tenants=None,
            actor=ACTOR,
            space=Space(size, ()),
            max_bytes=int(1.5 * size),
            dagster_run_id=None,
        )


def test_the_space_of_one_tenant_is_its_share(claims: Claims) -> None:
    world = claims(7000)
    world.sql("ANALYZE public.claims")
    size = world.one("SELECT pg_table_size('public.claims')")
    world.settings = {"backups": {"max_bytes": size // 3}}
    with pytest.raises(Refused, match="not enough room"):
        back_up(world)
    assert back_up(world, tenants=["alpha"]).verified


def printing(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.stdout.write({text!r}); sys.exit({code})"]


def test_the_operators_command_says_what_is_free(claims: Claims) -> None:
    world = claims(2000)
    world.settings = {"backups": {"free_bytes_command": printing("1000000000000\n")}}
    assert "free by backups.free_bytes_command" in back_up(world).space
    world.settings = {"backups": {"free_bytes_command": printing("1000")}}
    with pytest.raises(Refused, match=r"not enough room.*1,000 B free by backups\.free_bytes_command"):
        back_up(world)
    for command in (printing("plenty"), printing("1000000000000", 3), ["/nowhere/df"]):
        world.settings = {"backups": {"free_bytes_command": command}}
        with pytest.raises(Refused, match=r"Mend backups\.free_bytes_command"):
            back_up(world)
    assert len(list_backups(world.connection)) == 1


def test_the_servers_own_disk_is_looked_at_where_that_is_possible(server: Server, claims: Claims) -> None:
    """Only who may read the settings of the server knows where its data are; else nobody looked."""
    world = claims(70)
    assert "not checked" in back_up(world).space
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(sql.SQL("GRANT pg_read_all_settings TO {}").format(sql.Identifier(OWNER)))
    try:
        assert "free by the disk of" in back_up(world).space
    finally:
        with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
            superuser.execute(sql.SQL("REVOKE pg_read_all_settings FROM {}").format(sql.Identifier(OWNER)))


def test_a_directory_that_cannot_be_written_to_is_refused_first(claims: Claims, tmp_path: Path) -> None:
    world = claims(70)
    occupied = tmp_path / "file"
    occupied.write_text("a file")
    with pytest.raises(Refused, match="cannot be made"):
        back_up(world, directory=occupied)
    assert_nothing_is_left(world)
    assert world.one("SELECT count(*) FROM tenant_migration.backups") == 0
