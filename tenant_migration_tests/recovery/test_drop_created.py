"""Dropping what the migration made: only that, only when nothing needs it, and whole after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.config import DATABASE_URL_VARIABLE, MigrationConfig
from tenant_migration.errors import Refused
from tenant_migration.planning.storage import load_plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration_tests.backfill.conftest import World, bare_world, claims, world

__all__ = ["bare_world", "claims", "world"]

ROOT = Path(__file__).parents[2]
SYSTEM = {"validation": {"allowed_unmapped_tenants": ["system"]}}

OBJECTS = """
SELECT 'column ' || a.attrelid::regclass || '.' || a.attname FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v')
UNION ALL SELECT 'index ' || indexrelid::regclass || ' ' || pg_get_indexdef(indexrelid) FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'
UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal
AND tgrelid::regclass::text NOT LIKE 'tenant_migration.%' AND tgrelid::regclass::text NOT LIKE 'tenant_org%'
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc
WHERE pronamespace = 'tenant_migration'::regnamespace AND proname LIKE 'claim\\_%'
UNION ALL SELECT 'claims ' || relname FROM pg_class
WHERE relnamespace = 'tenant_migration'::regnamespace AND relname LIKE 'claims\\_%' AND relkind = 'r'
"""


def objects(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute(OBJECTS)}


def config_of(world: World) -> MigrationConfig:
    return MigrationConfig.model_validate({**SYSTEM, **world.settings})


def migrated(world: World) -> set[str]:
    """Migrate everything; return the objects from before."""
    before = objects(world.connection)
    config = config_of(world)
    plan = stored_or_new_plan(world.connection, config, actor="test")
    outcomes = migrate(world.connection, config, plan, actor="test")
    assert {outcome.state for outcome in outcomes} == {"completed"}, outcomes
    return before


def drop_all(world: World) -> dict[str, RollbackOutcome]:
    outcomes = rollback(
        world.connection, config_of(world), load_plan(world.connection), actor="test", drop_created=True
    )
    return {outcome.table: outcome for outcome in outcomes}


def alive(world: World) -> list[tuple[str, str]]:
    """Objects in the register that are not dropped; the journal stays, as the history of what was done."""
    return world.sql(
        "SELECT kind, object_name::text FROM tenant_migration.created_objects"
        " WHERE dropped_at IS NULL AND kind <> 'journal' ORDER BY 1, 2"
    )


def test_everything_that_was_made_is_gone_and_nothing_else(claims: Callable[[int], World]) -> None:
    world = claims(500)
    before = migrated(world)
    assert len(objects(world.connection) - before) >= 5  # column, index, key, claim trigger, its function
    [outcome] = drop_all(world).values()
    assert outcome.reason is None
    assert outcome.state == "rolled_back"
    assert objects(world.connection) == before
    assert alive(world) == []
    assert outcome.dropped[0].startswith("foreign key ")
    assert outcome.dropped[1].startswith("index ")
    assert outcome.dropped[-1] == "column organization_id on public.claims"


def test_what_somebody_dropped_before_is_not_named(claims: Callable[[int], World]) -> None:
    world = claims(100)
    before = migrated(world)
    world.sql("DROP INDEX claims_organization_id_idx")
    world.sql("ALTER TABLE claims DROP CONSTRAINT claims_organization_id_fkey")
    world.sql("DROP TRIGGER tenant_migration_claim_truncate ON claims")
    [outcome] = drop_all(world).values()
    assert outcome.state == "rolled_back"
    assert outcome.dropped == (
        "trigger tenant_migration_claim_update on public.claims",
        "trigger tenant_migration_claim_delete on public.claims",
        "column organization_id on public.claims",
    )
    assert objects(world.connection) == before
    assert alive(world) == []


def test_rows_are_reset_in_place_once_the_index_is_gone(claims: Callable[[int], World]) -> None:
    """HOT: with the index dropped first, no reset writes into an index."""
    world = claims(2_000)
    world.sql("ALTER TABLE public.claims SET (fillfactor = 40)")
    world.sql("VACUUM FULL public.claims")
    migrated(world)
    world.sql("VACUUM public.claims")
    statement = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'claims'"
    world.sql("SELECT pg_stat_force_next_flush()")
    updates, hot = world.sql(statement)[0]
    drop_all(world)
    world.sql("SELECT pg_stat_force_next_flush()")
    updates_after, hot_after = world.sql(statement)[0]
    assert updates_after - updates == 1_920
    assert (hot_after - hot) / (updates_after - updates) > 0.9


def test_after_the_drop_the_table_can_be_migrated_again_by_the_same_plan(
    claims: Callable[[int], World],
) -> None:
    world = claims(200)
    before = migrated(world)
    drop_all(world)
    migrated(world)
    assert world.missing("public.claims") == 0
    drop_all(world)
    assert objects(world.connection) == before


def test_a_second_drop_finds_nothing_left(claims: Callable[[int], World]) -> None:
    world = claims(100)
    migrated(world)
    drop_all(world)
    assert drop_all(world) == {}


def test_what_a_rollback_left_can_be_dropped_later(claims: Callable[[int], World]) -> None:
    world = claims(100)
    before = migrated(world)
    rollback(world.connection, config_of(world), load_plan(world.connection), actor="test")
    assert objects(world.connection) != before
    [outcome] = drop_all(world).values()
    assert outcome.reason is None
    assert objects(world.connection) == before


def test_a_column_that_was_there_before_stays_with_its_index(claims: Callable[[int], World]) -> None:
    world = claims(100)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql("CREATE INDEX own_index ON public.claims (organization_id)")
    before = migrated(world)
    [outcome] = drop_all(world).values()
    assert outcome.reason is None
    assert objects(world.connection) == before
    assert any("own_index" in name for name in before)


def test_values_that_the_application_wrote_refuse_it_before_anything_is_touched(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    migrated(world)
    world.sql(
        "INSERT INTO public.claims (id, tenant_id, organization_id)"
        " SELECT 1000, 'alpha', organization_id FROM public.tenant_org_mappings WHERE tenant_id = 'alpha'"
    )
    before = objects(world.connection)
    with pytest.raises(Refused, match="1 row with a value in organization_id that the migration did"):
        drop_all(world)
    assert objects(world.connection) == before
    assert world.missing("public.claims") == 0


def test_a_value_that_stays_after_all_keeps_the_column_and_says_which_rows(
    claims: Callable[[int], World],
) -> None:
    """One row fewer and one row more: the count from before sees nothing, the column is not dropped."""
    world = claims(100)
    migrated(world)
    world.sql("UPDATE public.claims SET organization_id = NULL WHERE id = 2")
    other = world.one("SELECT organization_id FROM public.claims WHERE id = 4")
    world.sql("INSERT INTO public.claims (id, tenant_id, organization_id) VALUES (1000, 'alpha', %s)", other)
    [outcome] = drop_all(world).values()
    assert outcome.state == "failed"
    assert "its rows are rolled back, but" in str(outcome.reason)
    assert "1 row with a value" in str(outcome.reason)
    assert "1000" in str(outcome.reason)
    assert set(outcome.tenant_states.values()) == {"rolled_back"}
    assert world.sql("SELECT id FROM public.claims WHERE organization_id IS NOT NULL") == [(1000,)]
    world.sql("UPDATE public.claims SET organization_id = %s WHERE id = 6", other)  # no CHECK is in the way
    world.sql("UPDATE public.claims SET organization_id = NULL")
    [again] = drop_all(world).values()
    assert again.reason is None
    assert alive(world) == []


DEPENDENTS = {
    "index": ("CREATE INDEX theirs ON public.claims (title, organization_id)", "index theirs"),
    "expression index": (
        "CREATE INDEX theirs ON public.claims ((organization_id::text))",
        "index theirs",
    ),
    "partial index": (
        "CREATE INDEX theirs ON public.claims (id) WHERE organization_id IS NULL",
        "index theirs",
    ),
    "constraint": (
        "ALTER TABLE public.claims ADD CONSTRAINT theirs CHECK (organization_id IS NOT NULL OR id > 0)",
        "constraint theirs",
    ),
    "unique": (
        "ALTER TABLE public.claims ADD CONSTRAINT theirs UNIQUE (organization_id, id)",
        "constraint theirs",
    ),
    "statistics": (
        "CREATE STATISTICS theirs ON title, organization_id FROM public.claims",
        "statistics object",
    ),
    "view": ("CREATE VIEW public.theirs AS SELECT id, organization_id FROM public.claims", "view theirs"),
    "materialized view": (
        "CREATE MATERIALIZED VIEW public.theirs AS SELECT organization_id FROM public.claims GROUP BY 1",
        "materialized view theirs",
    ),
    "policy": (
        "CREATE POLICY theirs ON public.claims USING (organization_id IS NULL OR true)",
        "policy theirs",
    ),
    "generated column": (
        "ALTER TABLE public.claims ADD COLUMN theirs boolean"
        " GENERATED ALWAYS AS (organization_id IS NULL) STORED",
        "column theirs",
    ),
    "default": (
        "ALTER TABLE public.claims ALTER COLUMN organization_id SET DEFAULT gen_random_uuid()",
        "default value for column organization_id",
    ),
    "rule": (
        "CREATE RULE theirs AS ON DELETE TO public.claims WHERE old.organization_id IS NULL DO NOTHING",
        "rule theirs",
    ),
    "trigger on the column": (
        "CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER theirs BEFORE UPDATE OF organization_id ON public.claims"
        " FOR EACH ROW EXECUTE FUNCTION public.look()",
        "trigger theirs",
    ),
    "function of a trigger": (
        "CREATE FUNCTION public.fill() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.Organization_ID := NEW.organization_id; RETURN NEW; END $$;"
        "CREATE TRIGGER theirs BEFORE INSERT ON public.claims FOR EACH ROW EXECUTE FUNCTION public.fill()",
        "its function fill() names the column",
    ),
    "function of another table's trigger": (
        "CREATE TABLE public.orders (id integer);"
        "CREATE FUNCTION public.copy_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE public.claims SET organization_id = NULL WHERE id = NEW.id; RETURN NEW; END $$;"
        "CREATE TRIGGER theirs AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.copy_it()",
        "its function copy_it() names the column",
    ),
    "function with a body of SQL": (
        "CREATE FUNCTION public.theirs() RETURNS bigint LANGUAGE sql"
        " RETURN (SELECT count(organization_id) FROM public.claims)",
        "function theirs()",
    ),
}


@pytest.mark.parametrize("kind", DEPENDENTS)
def test_what_depends_on_the_column_refuses_it_by_name(claims: Callable[[int], World], kind: str) -> None:
    world = claims(100)
    migrated(world)
    statement, named = DEPENDENTS[kind]
    world.sql(statement)
    before = objects(world.connection)
    with pytest.raises(Refused) as refusal:
        drop_all(world)
    assert named in str(refusal.value)
    assert str(refusal.value).count("depends on it") == 1  # and nothing of ours is listed
    assert objects(world.connection) == before
    assert world.missing("public.claims") == 0


def test_what_only_sounds_like_it_does_not_refuse_it(claims: Callable[[int], World]) -> None:
    world = claims(100)
    before = migrated(world)
    world.sql("CREATE VIEW public.other AS SELECT id, title FROM public.claims")
    world.sql(
        "CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " -- organization_id is not needed here\n"
        " RAISE DEBUG 'x_organization_id_y'; RETURN NEW; END $$"
    )
    world.sql("CREATE TRIGGER own BEFORE INSERT ON public.claims FOR EACH ROW EXECUTE FUNCTION public.look()")
    [outcome] = drop_all(world).values()
    assert outcome.reason is None
    assert "column claims.organization_id" not in objects(world.connection)
    assert before <= objects(world.connection)


def test_a_partitioned_table_loses_all_that_was_made_on_its_partitions(world: World) -> None:
    world.sql(
        "CREATE TABLE public.claims (id bigint, tenant_id text, PRIMARY KEY (id)) PARTITION BY RANGE (id)"
    )
    world.sql("CREATE TABLE public.claims_a PARTITION OF public.claims FOR VALUES FROM (0) TO (100)")
    world.sql(
        "CREATE TABLE public.claims_b PARTITION OF public.claims FOR VALUES FROM (100) TO (300)"
        " PARTITION BY RANGE (id)"
    )
    world.sql("CREATE TABLE public.claims_b1 PARTITION OF public.claims_b FOR VALUES FROM (100) TO (200)")
    world.sql("INSERT INTO public.claims SELECT i, 'alpha' FROM generate_series(0, 199) AS i")
    before = migrated(world)
    world.sql("CREATE TABLE public.claims_b2 PARTITION OF public.claims_b FOR VALUES FROM (200) TO (300)")
    [outcome] = drop_all(world).values()
    assert outcome.reason is None
    world.sql("DROP TABLE public.claims_b2")
    assert objects(world.connection) == before
    assert alive(world) == []


def test_no_lock_is_held_while_rows_are_looked_at(claims: Callable[[int], World]) -> None:
    """A reader and a writer that work all the time never wait longer than a short statement."""
    world = claims(3_000)
    migrated(world)
    stop = threading.Event()
    errors: list[Exception] = []
    done = [0]

    def work() -> None:
        with psycopg.connect(world.url, autocommit=True, options="-c statement_timeout=3000") as connection:
            while not stop.is_set():
                try:
                    connection.execute(
                        "UPDATE public.claims SET title = 'x' WHERE id = %s", [done[0] % 3_000]
                    )
                    connection.execute("SELECT count(*) FROM public.claims WHERE id < 10")
                except psycopg.Error as error:
                    errors.append(error)
                    return
                done[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        [outcome] = drop_all(world).values()
    finally:
        stop.set()
        thread.join()
    assert outcome.reason is None
    assert errors == []
    assert done[0] > 10


def test_a_transaction_that_holds_the_table_delays_the_drop_and_blocks_nobody(
    claims: Callable[[int], World],
) -> None:
    """The drop gives up its short waits, readers pass between, and in the end it says why."""
    world = claims(100)
    world.settings = {"defaults": {"retry_attempts": 3, "lock_timeout_ms": 100}}
    migrated(world)
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT count(*) FROM public.claims")
        [outcome] = drop_all(world).values()
        assert outcome.state == "failed"
        assert "gave up after 3 attempts" in str(outcome.reason)
    [again] = drop_all(world).values()
    assert again.reason is None
    assert alive(world) == []


@pytest.mark.parametrize("point", failpoints.DROPPING)
def test_a_process_that_dies_anywhere_is_followed_by_one_that_finishes(
    claims: Callable[[int], World], point: str
) -> None:
    world = claims(300)
    before = migrated(world)
    died = start_worker(world, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    end_leases(world)
    drop_all(world)
    assert objects(world.connection) == before
    assert alive(world) == []


@pytest.mark.parametrize("point", [failpoints.EMPTY_CHECK_ADDED, failpoints.EMPTY_CHECK_VALIDATED])
def test_a_migration_after_a_drop_that_died_takes_the_check_away_first(
    claims: Callable[[int], World], point: str
) -> None:
    """Left behind, it would refuse every row."""
    world = claims(300)
    before = migrated(world)
    assert start_worker(world, point).returncode == -signal.SIGKILL
    end_leases(world)
    assert any("tenant_migration_empty" in name for name in objects(world.connection))
    migrated(world)
    assert world.missing("public.claims") == 0
    assert not any("tenant_migration_empty" in name for name in objects(world.connection))
    drop_all(world)
    assert objects(world.connection) == before


def start_worker(world: World, point: str) -> subprocess.CompletedProcess[str]:
    """Roll everything back with drop_created in another process, which dies at the point."""
    program = (
        "from tenant_migration import rollback_all_tables as roll_back\n"
        "from tenant_migration.config import MigrationConfig\n"
        f"outcomes = roll_back(drop_created=True, config=MigrationConfig.model_validate({SYSTEM!r}))\n"
        "raise SystemExit([o.reason for o in outcomes if o.reason] or 0)\n"
    )
    environment = {**os.environ, DATABASE_URL_VARIABLE: world.url, failpoints.VARIABLE: point}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def end_leases(world: World) -> None:
    """As if the time to live of the dead process's lease had passed."""
    world.sql("UPDATE tenant_migration.leases SET expires_at = clock_timestamp()")
