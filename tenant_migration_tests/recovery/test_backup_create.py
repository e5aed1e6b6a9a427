"""A backup holds every row and every column as they were at one moment, or it is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tenant_migration.backfill.results import Progress
from tenant_migration.database.connection import connect, transaction
from tenant_migration.database.install import install
from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.backups import copy_sql, manifest
from tenant_migration.recovery.backups.columns import (
    checksum_of,
    pin_text_forms,
    read_source,
    value_of,
)
from tenant_migration.recovery.backups.source_check import LARGE_BYTES, SourceCheck
from tenant_migration.workflow.backup import list_backups, take_backup
from tenant_migration_tests import schemas
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of
from tenant_migration_tests.recovery.backup_scene import (
    TABLE,
    audit_of,
    back_up,
    backup_relations,
    copied_rows,
    part_of,
    rows_now,
)
from tenant_migration_tests.servers import Server, Servers

SCHEMAS = Path(schemas.__file__).parent
Claims = Callable[[int], World]

AWKWARD = """
CREATE SCHEMA "a.b";
CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE public.place AS (street text, details json);
CREATE TYPE public.gone AS ENUM ('x');
CREATE DOMAIN public.amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE "a.b"."It's a ""table"" with 100% of a name that is very very long, 63 byte" (
    "the id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id varchar(40),
    tenant_migration_backup_id bigint,
    tenant_migration_backup_id_2 text,
    "100%s (percent)" text,
    doomed public.gone,
    doomed_too text,
    mood public.mood,
    amount public.amount,
    price numeric,
    code char(5),
    share float8,
    spell interval,
    document json,
    data jsonb,
    page jsonpath,
    spot point,
    home public.place,
    moods public.mood[],
    bits varbit,
    raw bytea,
    words tsvector,
    a_column_whose_name_has_exactly_sixty_three_bytes_in_the_catalog int,
    doubled bigint GENERATED ALWAYS AS (tenant_migration_backup_id * 2) STORED
);
INSERT INTO "a.b"."It's a ""table"" with 100% of a name that is very very long, 63 byte"
    (tenant_id, tenant_migration_backup_id, tenant_migration_backup_id_2, "100%s (percent)", doomed,
     doomed_too, mood, amount, price, code, share, spell, document, data, page, spot, home, moods, bits, raw,
     words,
     a_column_whose_name_has_exactly_sixty_three_bytes_in_the_catalog)
SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE (ARRAY['alpha', 'beta'])[i % 3] END, i, 'text ' || i, '%' || i,
       'x', 'y',
       (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::public.mood, i, (i || '.00')::numeric, 'c' || i, i / 3.0,
       make_interval(days => i), '{"a": 1}', jsonb_build_object('i', i), '$.a', point(i, -i),
       ROW('street ' || i, '{"b": 2}')::public.place, '{sad,ok}', B'101', '\\xdeadbeef', 'word', i
FROM generate_series(1, 100) AS i;
ALTER TABLE "a.b"."It's a ""table"" with 100% of a name that is very very long, 63 byte"
    DROP COLUMN doomed_too;
DROP TYPE public.gone CASCADE;
CREATE TABLE public.events (tenant_id text, at date, note text COLLATE "C") PARTITION BY RANGE (at);
CREATE TABLE public.events_2024 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
    PARTITION BY LIST (note);
CREATE TABLE public.events_2024_a (note text COLLATE "C", extra int, tenant_id text, at date);
ALTER TABLE public.events_2024_a DROP COLUMN extra;
ALTER TABLE public.events_2024 ATTACH PARTITION public.events_2024_a FOR VALUES IN ('a');
CREATE TABLE public.events_2024_b PARTITION OF public.events_2024 DEFAULT;
CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT;
INSERT INTO public.events
SELECT (ARRAY['alpha', 'beta'])[1 + i % 2], date '2024-06-01' + i * 10, (ARRAY['a', 'b'])[1 + i % 2]
FROM generate_series(1, 50) AS i;
INSERT INTO public.events SELECT * FROM public.events;
CREATE TABLE public.nothing (id int PRIMARY KEY, tenant_id text);
"""


def awkward(world: World) -> World:
    world.connection.execute(AWKWARD)
    return world


def long_name(world: World) -> str:
    """The table's name as PostgreSQL cut it."""
    return world.one("SELECT relname::text FROM pg_class WHERE relname LIKE 'It''s a%'")


def rows_of(world: World, schema: str, name: str, where: str = "true") -> list[str]:
    query = sql.SQL("SELECT t::text FROM {} AS t WHERE {}").format(
        sql.Identifier(schema, name), sql.SQL(where)
    )
    return sorted(row[0] for row in world.connection.execute(query))


def test_whole_tables_of_every_kind_are_copied_to_the_bit(world: World) -> None:
    awkward(world)
    name = long_name(world)
    backup = back_up(world)
    assert backup.verified
    assert backup.complete
    assert backup.tenants is None
    assert copied_rows(world, backup, f"a.b.{name}") == rows_of(world, "a.b", name)
    assert copied_rows(world, backup, "public.events") == rows_of(world, "public", "events")
    assert part_of(backup, "public.events").rows == 100
    assert part_of(backup, "public.nothing").rows == 0
    types = world.sql(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attname IN ('mood', 'amount', 'home')"
        " AND attrelid = ('tenant_migration.' || %s)::regclass ORDER BY attname",
        part_of(backup, f"a.b.{name}").relation,
    )
    assert [name.removeprefix("public.") for (name,) in types] == ["amount", "place", "mood"], (
        "typed as the table is"
    )


def test_some_tenants_of_every_kind_of_table_are_copied_to_the_bit(world: World) -> None:
    awkward(world)
    name = long_name(world)
    first = back_up(world, tenants=["alpha"])
    second = back_up(world, tenants=["beta", "alpha"])
    assert first.verified
    assert second.verified
    for backup, chosen in ((first, "tenant_id = 'alpha'"), (second, "tenant_id IN ('alpha', 'beta')")):
        assert copied_rows(world, backup, f"a.b.{name}") == rows_of(world, "a.b", name, chosen)
        assert copied_rows(world, backup, "public.events") == rows_of(world, "public", "events", chosen)
        assert part_of(backup, "public.events").rows > 0
    long_part = part_of(first, f"a.b.{name}")
    assert long_part.backup_column == "tenant_migration_backup_id_3"
    assert part_of(first, "public.events").backup_column == "tenant_migration_backup_id"
    assert long_part.relation == part_of(second, f"a.b.{name}").relation


@pytest.mark.parametrize(
    "name", ["key_types", "partitions", "generated", "awkward_names", "without_primary_key"]
)
def test_every_property_of_real_schemas(world: World, name: str) -> None:
    """By whole tables and by tenants, against rows read without any of our code."""
    world.connection.execute((SCHEMAS / f"{name}.sql").read_text(encoding="utf-8"))
    tenants = ["acme", "globex", "1", "2", "b0000000-0000-4000-8000-00000000000a"]
    world.add_tenants([*tenants, "b0000000-0000-4000-8000-00000000000b"])
    whole = back_up(world)
    some = back_up(world, tenants=tenants)
    assert whole.verified
    assert some.verified
    plan = world.plan()
    assert [part.table for part in whole.tables] == [table.qualified_name for table in plan.tables]
    for table in plan.tables:
        chosen = f"{table.tenant_column.name}::text IN ({', '.join(map(repr, tenants))}, '2.0')"
        everything = rows_of(world, table.schema_name, table.table_name)
        assert copied_rows(world, whole, table.qualified_name) == everything
        if table.tenant_column.base_type == "pg_catalog.bpchar":
            chosen = "tenant_id IN ('acme', 'globex')"
        theirs = rows_of(world, table.schema_name, table.table_name, chosen)
        assert copied_rows(world, some, table.qualified_name) == theirs
        assert theirs, f"{table.qualified_name}: the test looked at nothing"


def test_a_changed_table_gets_another_relation_for_its_tenants(claims: Claims) -> None:
    world = claims(300)
    before = part_of(back_up(world, tenants=["alpha"]), TABLE).relation
    world.sql("ALTER TABLE public.claims ADD COLUMN more text DEFAULT 'more'")
    backup = back_up(world, tenants=["alpha"])
    assert part_of(backup, TABLE).relation != before
    assert copied_rows(world, backup, TABLE) == rows_now(world, TABLE, "tenant_id = 'alpha'")


def test_all_tables_of_a_call_share_one_snapshot(claims: Claims) -> None:
    world = claims(200)
    world.sql("CREATE TABLE public.zebra (id int PRIMARY KEY, tenant_id text)")
    world.sql("INSERT INTO public.zebra SELECT i, 'alpha' FROM generate_series(1, 10) AS i")
    seen: list[str] = []

    def write_meanwhile(progress: Progress) -> None:
        seen.append(progress.table)
        with psycopg.connect(world.url, autocommit=True) as application:
            application.execute("INSERT INTO public.zebra VALUES (1000 + %s, 'alpha')", (len(seen),))
            application.execute("DELETE FROM public.claims WHERE id = %s", (len(seen),))

    backup = back_up(world, progress=write_meanwhile)
    assert seen == [TABLE, "public.zebra"]
    assert part_of(backup, "public.zebra").rows == 10
    assert part_of(backup, TABLE).rows == 200
    assert world.one("SELECT count(*) FROM public.zebra") == 12


def test_what_the_manifest_says(claims: Claims) -> None:
    world = claims(300)
    world.migrate(TABLE)
    batches = world.one(f"SELECT max(batch_id) FROM tenant_migration.journal_{world.table_id(TABLE)}")
    [backup] = [back_up(world)]
    part = part_of(backup, TABLE)
    assert backup.created_by == ACTOR
    assert part.journal_batch_id == batches
    assert part.size_bytes > 0
    assert backup.lsn
    assert world.one("SELECT %s::pg_lsn <= pg_current_wal_lsn()", backup.lsn)
    assert world.one("SELECT %s::pg_snapshot IS NOT NULL", backup.snapshot)
    assert world.sql(
        "SELECT kind, state, finished_at IS NOT NULL FROM tenant_migration.runs ORDER BY run_id DESC LIMIT 1"
    ) == [("backup", "completed", True)]
    [(outcome, counts, detail)] = audit_of(world.connection, "backup")
    assert outcome == "succeeded"
    assert counts == {"tables": 1, "rows": 300, "bytes": part.size_bytes}
    assert detail["backup"] == backup.backup_id
    assert detail["tables"] == [TABLE]
    assert world.one("SELECT count(*) FROM tenant_migration.long_statements") == 0


def test_five_hundred_tenants_make_as_many_relations_as_there_are_tables(servers: Servers) -> None:
    server = servers.get(18)
    name = server.create_database()
    tenants = [f"tenant {number}" for number in range(500)]
    with connect(server.url(name)) as connection:
        world = World(server.url(name), connection)
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        install(connection, world.config)
        world.add_tenants(tenants)
        for table in ("claims", "notes"):
            connection.execute(f"CREATE TABLE public.{table} (id int PRIMARY KEY, tenant_id text)")
            connection.execute(
                f"INSERT INTO public.{table} SELECT i, 'tenant ' || i % 500"
                " FROM generate_series(0, 1999) AS i"
            )
            connection.execute(f"CREATE INDEX ON public.{table} (tenant_id)")
        plan = world.plan()
        for tenant in tenants:
            backup = take_backup(connection, world.config, plan, actor=ACTOR, tenants=[tenant])
            assert [part.rows for part in backup.tables] == [4, 4]
        assert len(backup_relations(world)) == 2
        assert len(list_backups(connection)) == 500
        for relation in backup_relations(world):
            assert world.one(f"SELECT count(*) FROM tenant_migration.{relation}") == 2000
    server.drop_database(name)


UNSEEN = {
    "scale of a number": ("a numeric", "(1.0), (1.0)", "UPDATE public.t SET a = 1.00"),
    "values exchanged": ("a text, b text", "('x', 'y'), ('y', 'z')", "UPDATE public.t SET a = b, b = a"),
    "values of rows exchanged": ("a int, b int", "(1, 2), (2, 1)", "UPDATE public.t SET a = b"),
    "equal intervals": ("a interval", "('1 day')", "UPDATE public.t SET a = '24 hours'"),
    "sign of zero": ("a float8", "(0)", "UPDATE public.t SET a = '-0'"),
    "blanks of a document": ("a json", "('[1, 2]')", "UPDATE public.t SET a = '[1,2]'"),
    "blanks at the end": ("a bpchar", "('a')", "UPDATE public.t SET a = 'a '"),
    "a pair of duplicates": (
        "a int",
        "(1), (1), (1), (1)",
        "DELETE FROM public.t WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.t LIMIT 2))",
    ),
    "nothing is not empty": ("a text", "('')", "UPDATE public.t SET a = NULL"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_the_checksum_sees_what_counts_and_equality_do_not(world: World, name: str) -> None:
    columns, rows, change = UNSEEN[name]
    world.connection.execute(f"CREATE TABLE public.t (tenant_id text DEFAULT 'alpha', {columns})")
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    world.connection.execute(f"INSERT INTO public.t ({names}) VALUES {rows}")
    table = table_of(world.plan(), "public.t")
    with transaction(world.connection):
        source = read_source(world.connection, table, 1)
    assert all(
        'COLLATE "C"' in value_of(column).as_string(world.connection)
        for column in source.columns
        if column.base_type == "pg_catalog.text"
    ), "no collation that takes different texts as equal"

    def checksum() -> Any:
        with world.connection.transaction():
            pin_text_forms(world.connection)
            return world.connection.execute(
                sql.SQL("SELECT {} FROM public.t AS t").format(checksum_of(source.columns)), {}
            ).fetchone()

    before = checksum()
    for setting in ("search_path = public", "TimeZone = 'Asia/Tokyo'", "IntervalStyle = iso_8601"):
        world.connection.execute(f"SET {setting}")
    assert checksum() == before, "no setting of the session changes it"
    assert world.connection.execute(change).rowcount > 0
    assert checksum() != before


def test_a_copy_that_is_not_equal_is_no_backup(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    world = claims(300)
    honest = copy_sql.create_copy

    def loses_a_row(source: Any, relation: str) -> sql.Composed:
        return honest(source, relation) + sql.SQL(" WHERE t.id <> 17")

    def changes_a_row(source: Any, relation: str) -> sql.Composed:
        text = honest(source, relation).as_string(world.connection)
        assert '"t"."title"' in text
        return sql.Composed([sql.SQL(text.replace('"t"."title"', "replace(t.title, '17', '18') AS title"))])

    for broken in (loses_a_row, changes_a_row):
        monkeypatch.setattr(copy_sql, "create_copy", broken)
        with pytest.raises(OperationFailed, match="was read back with"):
            back_up(world)
    assert list_backups(world.connection) == []
    assert backup_relations(world) == []
    assert [outcome for outcome, _, _ in audit_of(world.connection, "backup")] == ["failed", "failed"]
    assert world.sql("SELECT DISTINCT state FROM tenant_migration.backups") == [("failed",)]
    monkeypatch.undo()
    assert back_up(world).verified, "the same table, copied as it should be"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE public.claims ALTER COLUMN title TYPE text USING title || '!'",
            "was rewritten or emptied",
        ),
        ("TRUNCATE public.claims", "was rewritten or emptied"),
        ("TRUNCATE public.events_b", "was rewritten or emptied"),
        ("ALTER TABLE public.claims DROP COLUMN title", "title"),
    ],
)
def test_a_table_that_is_rewritten_when_the_backup_begins_is_refused(
    claims: Claims, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    """To the older snapshot it looks empty: such a backup would be verified and worthless."""
    world = claims(300)
    world.sql("CREATE TABLE public.events (id int, tenant_id text) PARTITION BY LIST (tenant_id)")
    world.sql("CREATE TABLE public.events_a PARTITION OF public.events FOR VALUES IN ('alpha')")
    world.sql("CREATE TABLE public.events_b PARTITION OF public.events FOR VALUES IN ('beta')")
    world.sql("INSERT INTO public.events VALUES (1, 'alpha'), (2, 'beta')")
    take_snapshot = manifest.lock_while_creating

    def change_after_the_snapshot(connection: psycopg.Connection, backup_id: int) -> None:
        take_snapshot(connection, backup_id)
        with psycopg.connect(world.url, autocommit=True) as application:
            application.execute(change)

    monkeypatch.setattr(manifest, "lock_while_creating", change_after_the_snapshot)
    with pytest.raises((OperationFailed, psycopg.errors.UndefinedColumn), match=message):
        back_up(world)
    monkeypatch.undo()
    assert list_backups(world.connection) == []
    assert backup_relations(world) == []
    assert back_up(world).verified


def test_what_the_application_commits_during_the_backup_is_not_in_it(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = claims(300)
    before = rows_now(world, TABLE)
    take_snapshot = manifest.lock_while_creating

    def write_after_the_snapshot(connection: psycopg.Connection, backup_id: int) -> None:
        take_snapshot(connection, backup_id)
        with psycopg.connect(world.url, autocommit=True) as application:
            application.execute("UPDATE public.claims SET title = 'new' WHERE id < 10")
            application.execute("DELETE FROM public.claims WHERE id > 290")

    monkeypatch.setattr(manifest, "lock_while_creating", write_after_the_snapshot)
    backup = back_up(world)
    assert copied_rows(world, backup, TABLE) == before
    assert rows_now(world, TABLE) != before


def large(world: World) -> None:
    """Claims above the size from which a second connection takes the checksum of the source."""
    world.sql("ALTER TABLE public.claims ADD COLUMN ballast text")
    world.sql("ALTER TABLE public.claims ALTER COLUMN ballast SET STORAGE EXTERNAL")
    world.sql("UPDATE public.claims SET ballast = repeat(md5(id::text), 125)")
    assert world.one("SELECT pg_table_size('public.claims')") > LARGE_BYTES


def test_a_large_table_is_checked_beside_the_copy_in_the_same_snapshot(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = claims(8000)
    large(world)
    before = rows_now(world, TABLE)
    take_snapshot = manifest.lock_while_creating
    readers: list[int] = []

    def write_after_the_snapshot(connection: psycopg.Connection, backup_id: int) -> None:
        take_snapshot(connection, backup_id)
        with psycopg.connect(world.url, autocommit=True) as application:
            application.execute("UPDATE public.claims SET title = 'new' WHERE id < 10")

    honest, wait = copy_sql.create_copy, SourceCheck.result

    def note(self: SourceCheck, started: Any) -> tuple[int, int]:
        found = wait(self, started)
        readers.append(found[0])
        return found

    with connect(world.url) as backing_up:
        monkeypatch.setattr(manifest, "lock_while_creating", write_after_the_snapshot)
        monkeypatch.setattr(SourceCheck, "result", note)
        backup = take_backup(backing_up, world.config, world.plan(), actor=ACTOR)
    assert backup.verified
    assert readers == [8000]
    assert copied_rows(world, backup, TABLE) == before

    monkeypatch.setattr(copy_sql, "create_copy", lambda *names: honest(*names) + sql.SQL(" WHERE t.id <> 17"))
    with pytest.raises(OperationFailed, match="was read back with"):
        back_up(world)
    assert [listed.backup_id for listed in list_backups(world.connection)] == [backup.backup_id]


def test_without_a_further_connection_a_large_table_is_checked_on_the_first(
    server: Server, claims: Claims
) -> None:
    world = claims(8000)
    large(world)
    plan = world.plan()
    name = sql.Identifier(world.connection.info.dbname)
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 1").format(name))
        backup = take_backup(world.connection, world.config, plan, actor=ACTOR)
        superuser.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
    assert backup.verified
    assert backup.rows == 8000
