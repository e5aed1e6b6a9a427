"""What a cleanup drops, what it keeps and why; what stands behind a migration. By the database's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
import pytest

from tenant_migration.database.connection import connect
from tenant_migration.errors import Refused
from tenant_migration.recovery.results import Backup
from tenant_migration.workflow.backup import (
    backup_before,
    cleanup_backups,
    covering_backup,
    hold,
    list_backups,
    release,
    take_backup,
)
from tenant_migration.workflow.migrate import Scope, abort, begin, migrate, resolve_scope
from tenant_migration_tests.backfill.conftest import ACTOR, TENANTS, World
from tenant_migration_tests.recovery.backup_scene import (
    TABLE,
    audit_of,
    back_up,
    backup_relations,
    copied_rows,
    in_background,
    part_of,
    rows_now,
)
from tenant_migration_tests.recovery.conftest import roll_back

Claims = Callable[[int], World]


def age(world: World, backup: Backup, days: float) -> None:
    """Let a backup have been made so many days earlier."""
    world.sql(
        "UPDATE tenant_migration.backups SET created_at = created_at - %s * interval '1 day'"
        " WHERE backup_id = %s",
        days,
        backup.backup_id,
    )
    world.sql(
        "UPDATE tenant_migration.relied_on_backups SET relied_on_at = relied_on_at - %s * interval '1 day'"
        " WHERE backup_id = %s",
        days,
        backup.backup_id,
    )


def cleanup(world: World, days: int | None = None, *, dry_run: bool = False) -> dict[int, str | None]:
    """Clean up; return each backup with why it was kept, or None where it was dropped."""
    done = cleanup_backups(world.connection, world.config, actor=ACTOR, days=days, dry_run=dry_run)
    return {backup.backup_id: backup.kept_because for backup in (*done.dropped, *done.kept)}


def migrate_claims(world: World, tenants: Sequence[str] | None = None) -> None:
    world.settings["validation"] = {"allowed_unmapped_tenants": ["system"]}
    [outcome] = migrate(
        world.connection, world.config, world.plan(), actor=ACTOR, tables=[TABLE], tenants=tenants
    )
    assert outcome.state == "completed", outcome.reason


def test_young_backups_stay_and_old_ones_go(claims: Claims) -> None:
    world = claims(70)
    old, younger, newest = (back_up(world) for _ in range(3))
    age(world, old, 8)
    age(world, younger, 6.9)
    assert cleanup(world) == {
        old.backup_id: None,
        younger.backup_id: "younger than 7 days",
        newest.backup_id: "younger than 7 days",
    }
    assert [backup.backup_id for backup in list_backups(world.connection)] == [
        newest.backup_id,
        younger.backup_id,
    ]
    assert part_of(old, TABLE).relation not in backup_relations(world)
    assert cleanup(world, 14) == {
        younger.backup_id: "younger than 14 days",
        newest.backup_id: "younger than 14 days",
    }
    assert cleanup(world, 1) == {younger.backup_id: None, newest.backup_id: "younger than 1 day"}
    assert cleanup(world, 0) == {newest.backup_id: None}
    assert backup_relations(world) == []


def test_the_configuration_says_how_long(claims: Claims) -> None:
    world = claims(70)
    backup = back_up(world)
    age(world, backup, 8)
    world.settings = {"backups": {"retention_days": 30}}
    [listed] = list_backups(world.connection, world.config)
    assert listed.kept_because == "younger than 30 days"
    assert list_backups(world.connection)[0].kept_because is None
    assert cleanup(world) == {backup.backup_id: "younger than 30 days"}


def test_a_dry_run_drops_nothing_and_says_what_would_go(claims: Claims) -> None:
    world = claims(70)
    backup = back_up(world)
    age(world, backup, 8)
    assert cleanup(world, dry_run=True) == {backup.backup_id: None}
    assert len(list_backups(world.connection)) == 1
    assert audit_of(world.connection, "backup cleanup") == []


def test_a_held_backup_stays_until_it_is_released(claims: Claims) -> None:
    world = claims(70)
    backup = back_up(world)
    age(world, backup, 400)
    hold(world.connection, backup.backup_id, actor="anna")
    hold(world.connection, backup.backup_id, actor="bert")
    assert list_backups(world.connection)[0].held_by == "anna", "who asked first"
    assert cleanup(world, 0) == {backup.backup_id: "held by anna"}
    release(world.connection, backup.backup_id, actor="anna")
    assert cleanup(world, 0) == {backup.backup_id: None}
    for operation in (hold, release):
        with pytest.raises(Refused, match=f"no backup {backup.backup_id}"):
            operation(world.connection, backup.backup_id, actor="anna")
    assert [outcome for outcome, _, _ in audit_of(world.connection, "hold")] == [
        "succeeded",
        "succeeded",
        "refused",
    ]
    assert [outcome for outcome, _, _ in audit_of(world.connection, "release")] == ["succeeded", "refused"]
    [(outcome, counts, detail), *_] = audit_of(world.connection, "backup cleanup")
    assert (outcome, counts["dropped"], counts["kept"]) == ("succeeded", 0, 1)
    assert detail["kept"] == {str(backup.backup_id): "held by anna"}


def test_a_damaged_backup_is_not_verified_and_stays(claims: Claims) -> None:
    """The application drops a type: PostgreSQL takes the column of the copy away with it, without a word."""
    world = claims(70)
    world.sql("CREATE TYPE public.mood AS ENUM ('ok')")
    world.sql("ALTER TABLE public.claims ADD COLUMN mood public.mood DEFAULT 'ok'")
    damaged, spoilt = back_up(world), back_up(world, tenants=["alpha"])
    assert damaged.verified
    world.sql("DROP TYPE public.mood CASCADE")
    whole = back_up(world)
    wrong = back_up(world)
    world.sql(
        "UPDATE tenant_migration.backed_up_tables SET copy_checksum = copy_checksum + 1 WHERE backup_id = %s",
        wrong.backup_id,
    )
    for backup in (damaged, spoilt, whole, wrong):
        age(world, backup, 30)
    listed = {backup.backup_id: backup.verified for backup in list_backups(world.connection)}
    assert listed == {
        damaged.backup_id: False,
        spoilt.backup_id: False,
        whole.backup_id: True,
        wrong.backup_id: False,
    }
    kept = cleanup(world, 0)
    assert kept.pop(whole.backup_id) is None
    assert all(reason and reason.startswith("not verified") for reason in kept.values())
    assert covering_backup(world.connection, world.plan(), [TABLE], ["alpha"]) is None


def test_what_somebody_else_dropped_leaves_the_list(claims: Claims) -> None:
    world = claims(70)
    backup = back_up(world)
    world.sql(f"DROP TABLE tenant_migration.{part_of(backup, TABLE).relation}")
    assert [listed.verified for listed in list_backups(world.connection)] == [False]
    assert cleanup(world, 30) == {backup.backup_id: None}
    assert list_backups(world.connection) == []


def test_only_what_the_manifest_names_is_dropped(claims: Claims) -> None:
    world = claims(70)
    foreign = (
        "public.claims_backup_123",
        "public.payroll_backup_20230101",
        "public.backup_1_1",
        "tenant_migration.backup_x",
        "tenant_migration.backup_1_99",
        "tenant_migration.backup_rows_1_deadbeef",
    )
    for table in foreign:
        world.sql(f"CREATE TABLE {table} (id int)")
    for backup in (back_up(world), back_up(world, tenants=["alpha"])):
        age(world, backup, 30)
    assert list(cleanup(world, 0).values()) == [None, None]
    for table in foreign:
        assert world.one("SELECT to_regclass(%s) IS NOT NULL", table), table
    assert backup_relations(world) == ["backup_1_99", "backup_rows_1_deadbeef", "backup_x"]


def test_of_a_relation_that_backups_share_only_the_dropped_ones_rows_go(claims: Claims) -> None:
    world = claims(140)
    old, other = back_up(world, tenants=["alpha"]), back_up(world, tenants=["alpha", "beta"])
    age(world, old, 30)
    relation = part_of(old, TABLE).relation
    assert cleanup(world)[old.backup_id] is None
    assert copied_rows(world, other, TABLE) == rows_now(world, TABLE, "tenant_id IN ('alpha', 'beta')")
    assert world.one(f"SELECT count(*) FROM tenant_migration.{relation}") == other.rows
    age(world, other, 30)
    assert cleanup(world)[other.backup_id] is None
    assert backup_relations(world) == []


def test_what_a_rollback_could_need_stays_at_any_age(claims: Claims) -> None:
    """The newest one of before the migration, and the newest of all; not the older ones."""
    world = claims(140)
    older, before = back_up(world), back_up(world)
    migrate_claims(world)
    between, after = back_up(world), back_up(world)
    backups = (older, before, between, after)
    for backup in backups:
        world.sql(
            "UPDATE tenant_migration.backups SET created_at = created_at - interval '1 second'"
            " WHERE backup_id <= %s",
            before.backup_id,
        )
        assert backup.verified
    kept = cleanup(world, 0)
    assert kept[older.backup_id] is None
    assert kept[between.backup_id] is None
    for backup in (before, after):
        reason = kept[backup.backup_id]
        assert reason == f"a rollback could still need it: {TABLE} ({len(TENANTS)} migrated tenants)"
    roll_back(world, TABLE)
    assert cleanup(world, 0) == {before.backup_id: None, after.backup_id: None}


def test_a_tenants_own_backup_is_needed_for_that_tenant(claims: Claims) -> None:
    world = claims(140)
    of_alpha, of_beta = back_up(world, tenants=["alpha"]), back_up(world, tenants=["beta"])
    migrate_claims(world, ["alpha"])
    for backup in (of_alpha, of_beta):
        world.sql("UPDATE tenant_migration.backups SET created_at = created_at - interval '1 second'")
        assert backup.verified
    kept = cleanup(world, 0)
    assert kept[of_beta.backup_id] is None
    assert kept[of_alpha.backup_id] == f"a rollback could still need it: {TABLE} (1 migrated tenant)"


def test_an_unverified_backup_does_not_stand_in_for_a_sound_one(claims: Claims) -> None:
    world = claims(140)
    sound, broken = back_up(world), back_up(world)
    world.sql(
        "UPDATE tenant_migration.backed_up_tables SET copy_checksum = 0 WHERE backup_id = %s",
        broken.backup_id,
    )
    migrate_claims(world)
    age(world, sound, 30)
    kept = cleanup(world, 0)
    assert kept[sound.backup_id] is not None
    assert kept[sound.backup_id].startswith("a rollback could still need it")  # type: ignore[union-attr]


def test_a_backup_that_somebody_reads_is_left_for_later(claims: Claims) -> None:
    world = claims(70)
    backup = back_up(world)
    relation = part_of(backup, TABLE).relation
    with psycopg.connect(world.url) as reader:
        reader.execute(f"SELECT count(*) FROM tenant_migration.{relation}")
        assert cleanup(world, 0) == {backup.backup_id: "another session is reading it"}
    assert [listed.verified for listed in list_backups(world.connection)] == [True]
    assert cleanup(world, 0) == {backup.backup_id: None}


def scope_of(world: World, tenants: Sequence[str] | None = None) -> Scope:
    return resolve_scope(
        world.connection, world.config, world.plan(), tables=[TABLE], tenants=tenants, skip_validation=True
    )


def test_a_migration_takes_the_covering_backup_or_a_new_one(claims: Claims) -> None:
    world = claims(140)
    plan = world.plan()

    def before(tenants: Sequence[str] | None = None) -> tuple[int, bool]:
        backup, is_new = backup_before(
            world.connection, world.config, plan, scope_of(world, tenants), actor=ACTOR
        )
        assert backup.verified
        return backup.backup_id, is_new

    assert before() == (1, True)
    assert before() == (1, False)
    assert before(["alpha"]) == (1, False), "a whole table covers its tenants"
    assert cleanup(world, 0) == {1: "a migration that is about to start counts on it"}
    migrate_claims(world, ["alpha"])
    assert before(["beta"]) == (1, False), "nothing was done to beta"
    assert before(["alpha"]) == (2, True), "alpha was migrated since"
    assert before(["alpha"]) == (2, False)
    assert before() == (3, True), "a backup of one tenant covers no table"
    roll_back(world, TABLE, tenants=["alpha"])
    assert before(["alpha"]) == (4, True), "alpha was rolled back since"
    assert before(["beta"]) == (3, False)


def test_a_backup_is_counted_on_until_the_migration_has_ended(claims: Claims) -> None:
    world = claims(140)
    plan, scope = world.plan(), scope_of(world)
    backup, _ = backup_before(world.connection, world.config, plan, scope, actor=ACTOR)
    world.sql(
        "INSERT INTO tenant_migration.relied_on_backups (backup_id, host, process_id) VALUES (%s, 'dead', 1)",
        backup.backup_id,
    )
    run = begin(world.connection, world.config, plan, scope, actor=ACTOR)
    age(world, backup, 400)
    assert cleanup(world, 0) == {backup.backup_id: f"run {run.run_id}, which has not ended, counts on it"}
    abort(world.connection, run, RuntimeError("nothing was written"))
    assert cleanup(world, 0) == {backup.backup_id: None}


def test_a_pair_whose_process_died_is_covered_by_nothing(claims: Claims) -> None:
    world = claims(140)
    plan = world.plan()
    back_up(world)
    assert covering_backup(world.connection, plan, [TABLE], ["alpha"]) is not None
    world.sql(
        "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, actor)"
        " SELECT %s, tenant_number, 'running', 'dead' FROM tenant_migration.tenants"
        " WHERE tenant_id = 'alpha'",
        world.table_id(TABLE),
    )
    assert covering_backup(world.connection, plan, [TABLE], ["alpha"]) is None
    assert covering_backup(world.connection, plan, [TABLE], None) is None
    assert covering_backup(world.connection, plan, [TABLE], ["beta"]) is not None


def test_a_batch_that_the_snapshot_does_not_have_ends_the_cover(claims: Claims) -> None:
    """Whatever states and clocks say: the journal has a row that was written after the backup."""
    world = claims(140)
    migrate_claims(world)
    plan = world.plan()
    backup = back_up(world)
    assert covering_backup(world.connection, plan, [TABLE], ["alpha"]) is not None
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    columns = "run_id, leaf, phase, row_count, tenant_numbers, key_1"
    world.sql(
        f"INSERT INTO {journal} ({columns}, xid) SELECT run_id, leaf, phase, 1,"
        " ARRAY[(SELECT tenant_number FROM tenant_migration.tenants WHERE tenant_id = 'alpha')],"
        f" key_1[1:1], pg_current_xact_id() FROM {journal} ORDER BY batch_id LIMIT 1"
    )
    assert covering_backup(world.connection, plan, [TABLE], ["alpha"]) is None
    found = covering_backup(world.connection, plan, [TABLE], ["beta"])
    assert found is not None
    assert found.backup_id == backup.backup_id


def test_undone_batches_and_old_lists_of_rows_are_pruned(claims: Claims) -> None:
    world = claims(300)
    world.migrate(TABLE, batch_size=50, adaptive=False)
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    batches = world.one(f"SELECT count(*) FROM {journal}")
    assert batches > 3
    world.sql(
        f"UPDATE {journal} SET closed_at = clock_timestamp() - interval '10 days' WHERE mod(batch_id, 2) = 0"
    )
    world.sql(f"UPDATE {journal} SET closed_at = clock_timestamp() WHERE batch_id = 1")
    old = world.one(f"SELECT count(*) FROM {journal} WHERE mod(batch_id, 2) = 0")
    run_id = world.one("SELECT max(run_id) FROM tenant_migration.runs")
    world.sql("UPDATE tenant_migration.runs SET state = 'completed', finished_at = clock_timestamp()")
    for days in (1, 10):
        world.sql(
            "INSERT INTO tenant_migration.left_alone"
            " (run_id, table_id, reason, tenant_numbers, row_keys, found_values, recorded_at)"
            " VALUES (%s, %s, 'changed', '{1}', ARRAY['{}'::jsonb], ARRAY[NULL::uuid],"
            " clock_timestamp() - %s * interval '1 day')",
            run_id,
            world.table_id(TABLE),
            days,
        )
    would = cleanup_backups(world.connection, world.config, actor=ACTOR, dry_run=True)
    assert (would.journal_batches_pruned, world.one(f"SELECT count(*) FROM {journal}")) == (old, batches)
    done = cleanup_backups(world.connection, world.config, actor=ACTOR)
    assert done.journal_batches_pruned == old
    assert world.one(f"SELECT count(*) FROM {journal}") == batches - old
    assert world.one(f"SELECT count(*) FROM {journal} WHERE mod(batch_id, 2) = 0") == 0
    assert world.one("SELECT count(*) FROM tenant_migration.left_alone") == 1


def test_claims_go_when_no_batch_that_they_speak_of_is_left(claims: Claims) -> None:
    world = claims(140)
    world.migrate(TABLE, batch_size=20, adaptive=False)
    table_id = world.table_id(TABLE)
    journal, claimed = f"tenant_migration.journal_{table_id}", f"tenant_migration.claims_{table_id}"
    world.sql("UPDATE claims SET organization_id = NULL WHERE id < 50")
    world.sql("CREATE TEMPORARY TABLE kept AS TABLE claims; TRUNCATE claims; INSERT INTO claims TABLE kept")
    count, truncated = f"SELECT count(*) FROM {claimed}", "SELECT count(*) FROM tenant_migration.truncations"
    before = world.one(count)
    assert before > 40
    cleanup(world)
    assert (world.one(count), world.one(truncated)) == (before, 1), "entries are open"
    roll_back(world, TABLE, tenants=["alpha"])
    roll_back(world, TABLE)
    cleanup(world)
    assert (world.one(count), world.one(truncated)) == (before, 1), "a verification may still ask"
    world.sql(f"UPDATE {journal} SET closed_at = closed_at - interval '8 days'")
    cleanup(world)
    assert (world.one(count), world.one(truncated)) == (0, 0)

    again = world.migrate(TABLE)
    world.sql("UPDATE claims SET organization_id = NULL WHERE id = 10")
    cleanup(world, 0)
    assert world.one(count) == 1
    result = roll_back(world, TABLE)
    assert (result.rows_restored, result.rows_changed) == (again.rows_migrated - 1, 1)


def test_claims_without_a_key_stay_once_for_each_organization(world: World) -> None:
    world.sql("CREATE TABLE public.claims (n int, tenant_id text)")
    world.sql("INSERT INTO claims SELECT i, 'alpha' FROM generate_series(1, 5) i")
    world.migrate(TABLE)
    claimed = f"tenant_migration.claims_{world.table_id(TABLE)}"
    world.sql(f"INSERT INTO {claimed} SELECT organization_id FROM claims, generate_series(1, 3)")
    roll_back(world, TABLE)
    cleanup(world, 0)
    assert world.one(f"SELECT count(*) FROM {claimed}") == 1


def test_two_backups_and_a_cleanup_at_the_same_time(claims: Claims) -> None:
    """Tenant backups that want the same relation at once, while a cleanup would drop what nobody uses."""
    world = claims(140)
    plan = world.plan()

    def back_up_often(tenant: str) -> Callable[[psycopg.Connection], None]:
        def work(connection: psycopg.Connection) -> None:
            for _ in range(6):
                backup = take_backup(connection, world.config, plan, actor=ACTOR, tenants=[tenant])
                assert backup.verified

        return work

    with (
        in_background(world.url, back_up_often("alpha")) as first,
        in_background(world.url, back_up_often("beta")) as second,
        connect(world.url) as cleaner,
    ):
        for _ in range(12):
            cleanup_backups(cleaner, world.config, actor=ACTOR, days=7)
    assert first == []
    assert second == []
    assert len(list_backups(world.connection)) == 12
    assert len(backup_relations(world)) == 1
