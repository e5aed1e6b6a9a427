"""Organizations that were there before us: refused, kept and recorded, or overwritten and journaled."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.errors import Refused
from tenant_migration_tests.backfill.conftest import World, table_of


@pytest.fixture
def disputed(claims: Callable[[int], World]) -> World:
    """960 claims of mapped tenants; beta's name the organization of alpha, 10 are right already."""
    world = claims(1_000)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql(
        "UPDATE public.claims SET organization_id = (SELECT organization_id FROM public.tenant_org_mappings"
        " WHERE tenant_id = 'alpha') WHERE tenant_id = 'beta'"
    )
    world.sql(
        "UPDATE public.claims SET organization_id = (SELECT organization_id FROM public.tenant_org_mappings"
        " WHERE tenant_id = 'alpha') WHERE id IN (SELECT id FROM public.claims WHERE tenant_id ="
        " 'alpha' LIMIT 10)"
    )
    return world


def values(world: World) -> dict[int, object]:
    return dict(world.sql("SELECT id, organization_id FROM public.claims"))


def test_refuse_names_table_tenant_and_way_out_and_writes_nothing(disputed: World) -> None:
    before = values(disputed)
    count = disputed.one("SELECT count(*) FROM public.claims WHERE tenant_id = 'beta'")
    with pytest.raises(Refused, match=r"public\.claims: the plan refuses: .*keep.*overwrite"):
        disputed.migrate("public.claims")
    plan = disputed.plan()
    unwarned = table_of(plan, "public.claims").model_copy(update={"hazards": ()})  # they came after the plan
    with pytest.raises(Refused, match=rf"public\.claims: {count} rows .*'beta' {count}.*keep.*overwrite"):
        backfill_table(disputed.connection, plan, unwarned, disputed.run(plan))
    assert values(disputed) == before
    assert disputed.one("SELECT count(*) FROM tenant_migration.leases") == 0


def test_refuse_lets_equal_values_pass(disputed: World) -> None:
    disputed.sql("UPDATE public.claims SET organization_id = NULL WHERE tenant_id = 'beta'")
    result = disputed.migrate("public.claims")
    assert result.rows_migrated == 950
    assert disputed.wrong("public.claims") == 0


def test_keep_records_the_values_before_the_run_and_leaves_them(disputed: World) -> None:
    kept = set(disputed.sql("SELECT id, organization_id FROM public.claims WHERE tenant_id = 'beta'"))
    result = disputed.migrate("public.claims", on_existing_value="keep")
    assert result.rows_kept == len(kept)
    assert result.rows_migrated == 950 - len(kept)
    assert set(disputed.sql("SELECT id, organization_id FROM public.claims WHERE tenant_id = 'beta'")) == kept
    journal = f"tenant_migration.journal_{disputed.table_id('public.claims')}"
    recorded = (
        f"SELECT k, p FROM {journal} j, unnest(j.key_1, j.previous_values) AS x (k, p) WHERE phase = 'kept'"
    )
    assert set(disputed.sql(recorded)) == kept
    pair = disputed.sql(
        "SELECT rows_migrated, rows_kept FROM tenant_migration.table_states JOIN tenant_migration.tenants"
        " USING (tenant_number) WHERE tenant_id = 'beta'"
    )
    assert pair == [(0, len(kept))]
    disputed.migrate("public.claims", on_existing_value="keep")
    assert set(disputed.sql(recorded)) == kept
    assert disputed.one(f"SELECT sum(row_count) FROM {journal} WHERE phase = 'kept'") == len(kept)


def test_overwrite_journals_what_was_there(disputed: World) -> None:
    before = values(disputed)
    result = disputed.migrate("public.claims", on_existing_value="overwrite", batch_size=50)
    assert result.rows_migrated == result.rows_expected == 950
    assert disputed.wrong("public.claims") == disputed.missing("public.claims") == 0
    journal = f"tenant_migration.journal_{disputed.table_id('public.claims')}"
    journaled = disputed.sql(f"SELECT k, p FROM {journal} j, unnest(j.key_1, j.previous_values) AS x (k, p)")
    assert len(journaled) == 950
    assert {key: before[key] for key, _ in journaled} == dict(journaled)


def test_overwrite_under_a_concurrent_change_journals_the_newest_value(disputed: World) -> None:
    """A row changed between our snapshot and its lock is either left for the sweep or journaled as it was."""
    other = disputed.one("SELECT organization_id FROM public.tenant_org_mappings WHERE tenant_id = 'ALPHA'")
    row = disputed.one("SELECT min(id) FROM public.claims WHERE tenant_id = 'beta'")
    with psycopg.connect(disputed.url) as application:
        application.execute("UPDATE public.claims SET organization_id = %s WHERE id = %s", (other, row))
        released = []

        def release(_: object) -> None:
            if not released:
                application.commit()
                released.append(True)

        result = disputed.migrate(
            "public.claims",
            on_existing_value="overwrite",
            claim_trigger=False,  # its lock would wait for the application's transaction
            batch_size=50,
            lock_timeout_ms=100,
            progress=release,
        )
    assert released
    assert result.rows_remaining == 0
    assert disputed.wrong("public.claims") == 0
    journal = f"tenant_migration.journal_{disputed.table_id('public.claims')}"
    assert disputed.sql(
        f"SELECT p FROM {journal} j, unnest(j.key_1, j.previous_values) AS x (k, p) WHERE k = %s", row
    ) == [(other,)]


def test_fingerprints_are_those_of_the_rows_whatever_their_columns_types(world: World) -> None:
    """Nor on their `=`, for which 12.10 is 12.1; generated columns and ours stay out."""
    world.sql(
        "CREATE TABLE public.mixed (id int PRIMARY KEY, tenant_id text, j json, p point, tags text[],"
        " n numeric, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    world.sql(
        "INSERT INTO public.mixed SELECT i, 'alpha', '{\"a\": 1}', point(i, i), ARRAY['x', NULL], i / 3.0"
        " FROM generate_series(1, 300) i"
    )
    result = world.migrate("public.mixed", fingerprints="journal", batch_size=70)
    assert result.rows_migrated == 300
    journal = f"tenant_migration.journal_{world.table_id('public.mixed')}"
    differing = (
        f"SELECT count(*) FROM {journal} j, unnest(j.key_1, j.fingerprints) AS e (key, fingerprint)"
        " JOIN public.mixed t ON t.id = e.key WHERE e.fingerprint IS DISTINCT FROM hashint8extended("
        "hash_record_extended(ROW(t.id, t.tenant_id, t.j::text, point_send(t.p), t.tags::text,"
        " numeric_send(t.n), NULL::uuid), 0), 0)"
    )
    assert world.one(f"SELECT sum(cardinality(fingerprints)) FROM {journal}") == 300
    assert world.one(differing) == 0
    world.sql("UPDATE public.mixed SET j = '{\"a\": 2}' WHERE id = 7")
    assert world.one(differing) == 1
    world.sql("UPDATE public.mixed SET n = 3.0 WHERE id = 9")
    assert world.one(differing) == 2, "equal, and not identical"


def test_without_fingerprints_none_are_stored(claims: Callable[[int], World]) -> None:
    world = claims(50)
    world.migrate("public.claims")
    journal = f"tenant_migration.journal_{world.table_id('public.claims')}"
    assert world.one(f"SELECT count(*) FROM {journal} WHERE fingerprints IS NOT NULL") == 0
