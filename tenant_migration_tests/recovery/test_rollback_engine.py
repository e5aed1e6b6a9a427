"""A rollback takes back what the migration wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration.backfill.results import Progress
from tenant_migration.database.install import install
from tenant_migration_tests.backfill.conftest import TENANTS, World
from tenant_migration_tests.recovery.conftest import roll_back

CONTENT = (
    "SELECT md5(string_agg(md5(ROW(id, tenant_id, title, updated_at)::text), '' ORDER BY id)) FROM claims"
)


def test_all_tenants_are_taken_back_and_can_be_migrated_again(claims: Callable[[int], World]) -> None:
    world = claims(5_000)
    before = world.one(CONTENT)
    migrated = world.migrate("public.claims")
    result = roll_back(world, "public.claims")
    assert (result.rows_expected, result.rows_restored) == (migrated.rows_migrated,) * 2
    assert (result.rows_changed, result.rows_deleted, result.rows_failed, result.left_alone) == (0, 0, 0, ())
    assert world.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 0
    assert world.one(CONTENT) == before
    assert set(world.states("public.claims").values()) == {"rolled_back"}
    assert world.sql("SELECT DISTINCT migration_status, record_count FROM public.tenant_org_mappings") == [
        ("rolled_back", 0)
    ]
    assert world.migrate("public.claims").rows_migrated == migrated.rows_migrated
    assert world.missing("public.claims") == world.wrong("public.claims") == 0
    again = roll_back(world, "public.claims")
    assert again.rows_restored == migrated.rows_migrated
    assert set(again.restored_by_tenant) == set(TENANTS)


def test_one_tenant_is_taken_back_and_the_others_stay(claims: Callable[[int], World]) -> None:
    world = claims(3_000)
    world.migrate("public.claims", batch_size=100, adaptive=False)
    expected = world.one("SELECT count(*) FROM claims WHERE tenant_id = 'beta'")
    others = world.one(
        "SELECT count(*) FROM claims WHERE tenant_id <> 'beta' AND organization_id IS NOT NULL"
    )
    result = roll_back(world, "public.claims", tenants=["beta"])
    assert (result.rows_restored, result.restored_by_tenant) == (expected, {"beta": expected})
    assert world.sql("SELECT DISTINCT tenant_id FROM claims WHERE organization_id IS NULL ORDER BY 1") == [
        ("beta",),
        ("system",),
        (None,),
    ]
    assert world.states("public.claims")["beta"] == "rolled_back"
    assert set(world.states("public.claims").values()) == {"rolled_back", "verifying"}
    assert world.sql(
        "SELECT migration_status, record_count FROM tenant_org_mappings WHERE tenant_id = 'beta'"
    ) == [("rolled_back", 0)]
    assert roll_back(world, "public.claims", tenants=["beta"]).rows_expected == 0
    rest = roll_back(world, "public.claims")
    assert rest.rows_restored == others
    assert open_batches(world) == 0


def test_tenants_taken_back_one_by_one_close_every_batch(claims: Callable[[int], World]) -> None:
    world = claims(2_000)
    migrated = world.migrate("public.claims", batch_size=300, adaptive=False).rows_by_tenant
    for tenant in TENANTS:
        result = roll_back(world, "public.claims", tenants=[tenant], batch_size=70, adaptive=False)
        assert result.restored_by_tenant == {tenant: migrated[tenant]}
    assert open_batches(world) == 0
    assert world.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 0
    journal = f"tenant_migration.journal_{world.table_id('public.claims')}"
    assert world.sql(f"SELECT count(*) FROM {journal} WHERE closed_rows <> row_count") == [(0,)]


def test_a_large_batch_is_divided_and_the_journal_names_the_same_rows(
    claims: Callable[[int], World],
) -> None:
    world = claims(4_000)
    world.migrate("public.claims", batch_size=2_000, adaptive=False, fingerprints="journal")
    entries = sorted(world.journal_keys("public.claims"))
    journal = f"tenant_migration.journal_{world.table_id('public.claims')}"
    fingerprints = (
        f"SELECT md5(string_agg(k || ':' || f, ',' ORDER BY k)) FROM {journal} j,"
        " unnest(j.key_1, j.fingerprints) AS e (k, f)"
    )
    before = world.one(fingerprints)
    steps: list[int] = []
    result = roll_back(
        world,
        "public.claims",
        batch_size=100,
        adaptive=False,
        progress=lambda event: steps.append(event.batch_rows),
    )
    assert result.rows_restored == len(entries)
    assert max(steps) <= 150
    assert world.one(fingerprints) == before
    assert world.one(f"SELECT count(*) FROM {journal} WHERE part_of IS NOT NULL") > 10
    assert open_batches(world) == 0


def test_one_tenant_of_a_large_batch_is_divided_by_its_own_rows(claims: Callable[[int], World]) -> None:
    world = claims(3_000)
    migrated = world.migrate("public.claims", batch_size=3_000, adaptive=False).rows_by_tenant
    steps: list[int] = []
    for tenant in ("beta", "alpha"):
        result = roll_back(
            world,
            "public.claims",
            tenants=[tenant],
            batch_size=20,
            adaptive=False,
            progress=lambda event: steps.append(event.batch_rows),
        )
        assert result.rows_restored == migrated[tenant]
    assert max(steps) <= 30
    assert roll_back(world, "public.claims").rows_restored == sum(migrated.values()) - sum(
        migrated[tenant] for tenant in ("beta", "alpha")
    )
    assert open_batches(world) == 0


def test_progress_says_rolling_back_and_comes_to_its_end(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    world.migrate("public.claims")
    events: list[Progress] = []
    result = roll_back(world, "public.claims", progress=events.append, batch_size=100, adaptive=False)
    assert {event.state for event in events} == {"rolling_back"}
    assert [event.rows_done for event in events] == sorted(event.rows_done for event in events)
    assert (events[-1].rows_done, events[-1].percent) == (result.rows_expected, 100.0)
    assert world.sql(
        "SELECT state, rows_expected, rows_restored FROM tenant_migration.table_runs WHERE run_id = %s",
        result.run_id,
    ) == [("rolled_back", 960, 960)]


def test_updated_at_of_a_guarded_trigger_is_not_touched(claims: Callable[[int], World]) -> None:
    world = claims(500)
    world.sql(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$"
    )
    world.sql(
        "CREATE TRIGGER touch BEFORE UPDATE ON claims FOR EACH ROW"
        " WHEN (current_setting('tenant_migration.backfill', true) IS DISTINCT FROM 'on')"
        " EXECUTE FUNCTION touch()"
    )
    before = world.one(CONTENT)
    world.migrate("public.claims")
    roll_back(world, "public.claims")
    assert world.one(CONTENT) == before


def test_a_trigger_of_the_application_runs_under_its_own_search_path(claims: Callable[[int], World]) -> None:
    world = claims(200)
    world.sql("CREATE TABLE public.seen (id bigint)")
    world.sql(
        "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$"
    )
    world.sql("CREATE TRIGGER note AFTER UPDATE ON claims FOR EACH ROW EXECUTE FUNCTION public.note()")
    world.migrate("public.claims", on_triggers="fire")
    result = roll_back(world, "public.claims", on_triggers="fire")
    assert world.one("SELECT count(*) FROM seen") == 2 * result.rows_restored


def test_values_that_were_kept_stay_and_their_entries_are_closed(claims: Callable[[int], World]) -> None:
    world = claims(200)
    other = preset(world, "beta")
    world.migrate("public.claims", on_existing_value="keep")
    assert world.one("SELECT sum(rows_kept) FROM tenant_migration.table_states") == 5
    result = roll_back(world, "public.claims", tenants=["beta"], on_existing_value="keep")
    assert result.rows_restored == result.rows_expected > 0
    roll_back(world, "public.claims", on_existing_value="keep")
    assert world.sql("SELECT DISTINCT organization_id FROM claims WHERE organization_id IS NOT NULL") == [
        (other,)
    ]
    assert world.one("SELECT sum(rows_kept) FROM tenant_migration.table_states") == 0
    assert open_batches(world) == 0


def test_values_that_were_overwritten_come_back(claims: Callable[[int], World]) -> None:
    world = claims(200)
    other = preset(world, "beta")
    before = world.sql("SELECT id, organization_id FROM claims ORDER BY 1")
    world.migrate("public.claims", on_existing_value="overwrite")
    assert world.wrong("public.claims") == 0
    roll_back(world, "public.claims", on_existing_value="overwrite")
    assert world.sql("SELECT id, organization_id FROM claims ORDER BY 1") == before
    assert world.one("SELECT count(*) FROM claims WHERE organization_id = %s", other) == 5


def test_a_row_written_twice_is_taken_back_through_both_writes(claims: Callable[[int], World]) -> None:
    """Overwritten for one tenant, moved, overwritten for another: the first value of all comes back."""
    world = claims(200)
    other = preset(world, "beta")
    row = world.one("SELECT min(id) FROM claims WHERE organization_id = %s", other)
    world.migrate("public.claims", on_existing_value="overwrite")
    world.sql("UPDATE claims SET tenant_id = 'alpha' WHERE id = %s", row)
    assert world.migrate("public.claims", on_existing_value="overwrite").rows_migrated == 1
    result = roll_back(world, "public.claims", on_existing_value="overwrite")
    assert (result.rows_expected, result.rows_restored) == (193, 193)
    assert world.one("SELECT organization_id FROM claims WHERE id = %s", row) == other


def test_nothing_to_take_back_is_no_error(claims: Callable[[int], World]) -> None:
    world = claims(200)
    world.plan()
    result = roll_back(world, "public.claims")
    assert (result.rows_expected, result.rows_restored, result.batches) == (0, 0, 0)
    assert world.states("public.claims") == {}


def test_a_rollback_of_the_whole_table_forgets_where_passes_stand(claims: Callable[[int], World]) -> None:
    world = claims(500)
    world.migrate("public.claims")
    roll_back(world, "public.claims", tenants=["beta"])
    assert world.one("SELECT count(*) FROM tenant_migration.cursors") == 1
    roll_back(world, "public.claims")
    assert world.one("SELECT count(*) FROM tenant_migration.cursors") == 0


def test_rows_in_quarantine_no_longer_fail_a_tenant_that_is_rolled_back(world: World) -> None:
    world.sql(
        "CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text, organization_id uuid,"
        " CHECK (id <> 7 OR organization_id IS NULL))"
    )
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 50) i")
    assert world.migrate("public.claims").rows_quarantined == 1
    result = roll_back(world, "public.claims")
    assert (result.rows_restored, result.rows_failed) == (49, 0)
    assert world.one("SELECT migration_status FROM tenant_org_mappings WHERE tenant_id = 'alpha'") == (
        "rolled_back"
    )


def test_a_journal_of_an_earlier_release_is_upgraded_and_taken_back(claims: Callable[[int], World]) -> None:
    world = claims(500)
    world.migrate("public.claims", claim_trigger=False)
    world.sql(
        f"ALTER TABLE tenant_migration.journal_{world.table_id('public.claims')}"
        " DROP COLUMN part_of, DROP COLUMN closed_tenants, DROP COLUMN closed_rows"
    )
    install(world.connection, world.config)
    assert roll_back(world, "public.claims", tenants=["beta"]).rows_failed == 0
    result = roll_back(world, "public.claims")
    assert (result.rows_restored > 0, result.rows_changed) == (True, 0)
    assert world.one("SELECT count(*) FROM claims WHERE organization_id IS NOT NULL") == 0
    assert open_batches(world) == 0


def test_the_private_schema_goes_with_everything_that_a_migration_put_on_a_table(
    claims: Callable[[int], World],
) -> None:
    world = claims(50)
    world.migrate("public.claims")
    assert world.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tenant_migration%'") == 3
    world.sql("DROP SCHEMA tenant_migration CASCADE")
    assert world.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tenant_migration%'") == 0
    world.sql("UPDATE claims SET organization_id = NULL; DELETE FROM claims")


def open_batches(world: World) -> int:
    return world.one(
        f"SELECT count(*) FROM tenant_migration.journal_{world.table_id('public.claims')}"
        " WHERE closed_at IS NULL"
    )


def preset(world: World, tenant: str) -> object:
    """Give five rows of a tenant another organization before the migration; return it."""
    world.sql("ALTER TABLE claims ADD COLUMN organization_id uuid")
    other = world.one("SELECT organization_id FROM tenant_org_mappings WHERE tenant_id = 'ALPHA'")
    world.sql(
        "UPDATE claims SET organization_id = %s"
        " WHERE id IN (SELECT id FROM claims WHERE tenant_id = %s ORDER BY id LIMIT 5)",
        other,
        tenant,
    )
    return other
