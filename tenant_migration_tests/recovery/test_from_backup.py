"""A rollback that brings back a backup's values: same comparison, another source; also without a journal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenant_migration.errors import Refused
from tenant_migration.integrity.model import Outcome
from tenant_migration.planning.storage import table_ids
from tenant_migration_tests.backfill.conftest import TENANTS, World, bare_world, claims, world
from tenant_migration_tests.recovery.scenes import (
    TABLE,
    back_up,
    checks_of,
    migrate_all,
    organizations,
    take_back,
)

__all__ = ["bare_world", "claims", "world"]

ROWS = 500
MIGRATED = 480


@pytest.fixture
def with_values(claims: Callable[[int], World]) -> World:
    """Claims of which beta's had an organization of their own, and all of which are to be overwritten."""
    world = claims(ROWS)
    world.settings = {"defaults": {"on_existing_value": "overwrite"}}
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql(
        "UPDATE public.claims SET organization_id = (SELECT o.id FROM public.organizations o"
        " JOIN public.tenant_org_mappings m ON m.organization_id = o.id WHERE m.tenant_id = 'alpha')"
        " WHERE tenant_id = 'beta'"
    )
    return world


def journal_of(world: World) -> str:
    return f"tenant_migration.journal_{table_ids(world.connection)[TABLE]}"


def forget_previous_values(world: World) -> None:
    """As if the journal were wrong: only the backup knows what was there."""
    world.sql(f"UPDATE {journal_of(world)} SET previous_values = NULL")


def test_the_values_of_the_backup_come_back(with_values: World) -> None:
    world = with_values
    before = organizations(world)
    backup = back_up(world)
    migrate_all(world)
    forget_previous_values(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert outcome.rows_restored == MIGRATED
    assert organizations(world) == before
    assert {check.outcome for check in outcome.checks} == {Outcome.PASSED}


def test_a_backup_from_before_the_column_was_there_brings_back_nothing(
    claims: Callable[[int], World],
) -> None:
    world = claims(ROWS)
    backup = back_up(world)
    migrate_all(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert set(organizations(world).values()) == {None}
    assert {check.outcome for check in outcome.checks} == {Outcome.PASSED}


def test_one_tenant_from_its_own_backup(with_values: World) -> None:
    world = with_values
    before = organizations(world)
    backup = back_up(world, tenants=["beta", "alpha"])
    back_up(world, tenants=["beta"])
    migrate_all(world)
    after = organizations(world)
    forget_previous_values(world)
    outcome = take_back(world, tenants=["beta"], from_backup=backup.backup_id)
    assert outcome.reason is None
    betas = {row[0] for row in world.sql("SELECT id FROM public.claims WHERE tenant_id = 'beta'")}
    assert organizations(world) == {key: before[key] if key in betas else after[key] for key in after}


def test_what_the_application_wrote_stays_also_from_a_backup(with_values: World) -> None:
    world = with_values
    backup = back_up(world)
    migrate_all(world)
    mapped = organizations(world)
    other = world.one("SELECT id::text FROM public.organizations WHERE id <> %s::uuid LIMIT 1", mapped[10])
    world.sql("UPDATE public.claims SET organization_id = %s WHERE id = 10", other)
    world.sql("UPDATE public.claims SET organization_id = NULL WHERE id = 20")
    world.sql("UPDATE public.claims SET organization_id = %s WHERE id = 20", mapped[20])
    world.sql("DELETE FROM public.claims WHERE id = 30")
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert outcome.result is not None
    assert (outcome.result.rows_restored, outcome.result.rows_changed, outcome.result.rows_deleted) == (
        MIGRATED - 3,
        2,
        1,
    )
    now = organizations(world)
    assert (now[10], now[20]) == (other, mapped[20])


def test_rows_that_came_after_the_backup_go_by_the_journal(with_values: World) -> None:
    world = with_values
    backup = back_up(world)
    earlier = world.one("SELECT max(id::text) FROM public.organizations")
    world.sql("INSERT INTO public.claims (id, tenant_id, organization_id) VALUES (9000, 'ALPHA', NULL)")
    world.sql(
        "INSERT INTO public.claims (id, tenant_id, organization_id) VALUES (9001, 'alpha', %s)", earlier
    )
    before = organizations(world)
    migrate_all(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert organizations(world) == before


def test_what_was_migrated_before_the_backup_goes_by_the_journal(with_values: World) -> None:
    """The backup holds what we wrote for beta, and what was there for the others."""
    world = with_values
    before = organizations(world)
    migrate_all(world, tenants=["beta"])
    backup = back_up(world)
    migrate_all(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert organizations(world) == before


@pytest.mark.parametrize("damage", ["dropped", "emptied", "half"])
def test_a_journal_that_is_gone_or_incomplete_is_made_good_by_the_backup(
    with_values: World, damage: str
) -> None:
    world = with_values
    before = organizations(world)
    backup = back_up(world)
    migrate_all(world)
    journal = journal_of(world)
    world.sql(
        {
            "dropped": f"DROP TABLE {journal} CASCADE",
            "emptied": f"DELETE FROM {journal}",
            "half": f"DELETE FROM {journal} WHERE batch_id % 2 = 0 OR batch_id = 1",
        }[damage]
    )
    refused = take_back(world)
    assert refused.state == "failed"
    assert "--from-backup" in str(refused.reason)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert organizations(world) == before
    assert outcome.rows_restored == MIGRATED
    assert outcome.result is not None
    assert "did not name" in outcome.result.notes[0]
    assert set(world.states(TABLE).values()) == {"rolled_back"}
    migrate_all(world)
    again = take_back(world)
    assert again.reason is None
    assert organizations(world) == before


def test_without_a_journal_claims_still_protect_what_the_application_wrote(with_values: World) -> None:
    world = with_values
    backup = back_up(world)
    migrate_all(world)
    mapped = organizations(world)
    world.sql("UPDATE public.claims SET organization_id = NULL WHERE id = 20")
    world.sql("UPDATE public.claims SET organization_id = %s WHERE id = 20", mapped[20])
    world.sql(f"DELETE FROM {journal_of(world)}")
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert outcome.result is not None
    assert outcome.result.rows_changed == 1
    assert organizations(world)[20] == mapped[20]


def test_a_backup_from_after_the_migration_cannot_stand_for_a_lost_journal(with_values: World) -> None:
    world = with_values
    migrate_all(world, tenants=["beta"])
    backup = back_up(world)
    migrate_all(world)
    world.sql(f"DELETE FROM {journal_of(world)}")
    before = organizations(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.state == "failed"
    assert "lost entries of tenant 'beta', which run 1 had begun to migrate before backup" in str(
        outcome.reason
    )
    assert organizations(world) == before
    assert set(world.states(TABLE).values()) == {"completed"}  # nothing was begun


def test_rows_that_the_application_filled_itself_are_not_taken_for_lost_entries(
    claims: Callable[[int], World],
) -> None:
    """The journal is complete: what it does not name was never ours, though the backup has it empty."""
    world = claims(ROWS)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    backup = back_up(world)
    world.sql(
        "UPDATE public.claims c SET organization_id = m.organization_id FROM public.tenant_org_mappings m"
        " WHERE m.tenant_id = c.tenant_id AND c.id BETWEEN 2 AND 9"
    )
    own = {key: value for key, value in organizations(world).items() if value}
    migrate_all(world)
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert {key: value for key, value in organizations(world).items() if value} == own


def refusal(world: World, **arguments: object) -> str:
    with pytest.raises(Refused) as error:
        take_back(world, **arguments)
    return str(error.value)


def test_an_unknown_or_incomplete_backup_is_refused(with_values: World) -> None:
    world = with_values
    migrate_all(world)
    assert "there is no backup 5" in refusal(world, from_backup=5)
    run = world.one("SELECT max(run_id) FROM tenant_migration.runs")
    number = world.one(
        "INSERT INTO tenant_migration.backups (run_id, state, reason, created_by, tool_version, backend_pid,"
        " backend_start, space) VALUES (%s, 'failed', 'the disk is full', 'test', '0', 1, now(), '?')"
        " RETURNING backup_id",
        run,
    )
    assert f"backup {number} is not complete (failed: the disk is full)" in refusal(world, from_backup=number)


def test_a_backup_that_does_not_have_the_rows_is_refused(with_values: World) -> None:
    world = with_values
    world.sql("CREATE TABLE public.notes (id integer PRIMARY KEY, tenant_id text)")
    world.sql("INSERT INTO public.notes VALUES (1, 'alpha')")
    backup = back_up(world, tenants=["beta"])
    migrate_all(world)
    assert "it has the tenants 'beta' only" in refusal(world, from_backup=backup.backup_id)
    assert "it does not have tenant 'alpha'" in refusal(
        world, tenants=["beta", "alpha"], from_backup=backup.backup_id
    )
    world.sql(
        "DELETE FROM tenant_migration.backed_up_tables WHERE table_id = %s",
        table_ids(world.connection)["public.notes"],
    )
    assert "public.notes: it is not in the backup" in refusal(world, from_backup=backup.backup_id)


def test_a_copy_that_is_gone_or_was_not_verified_is_refused(with_values: World) -> None:
    world = with_values
    backup = back_up(world)
    migrate_all(world)
    world.sql("UPDATE tenant_migration.backed_up_tables SET copy_checksum = copy_checksum + 1")
    assert "not equal to the source" in refusal(world, from_backup=backup.backup_id)
    world.sql(f"DROP TABLE tenant_migration.{backup.tables[0].relation}")
    assert "its copy is gone" in refusal(world, from_backup=backup.backup_id)


def test_a_table_without_a_key_is_refused_with_the_reason(world: World) -> None:
    world.sql("CREATE TABLE public.claims (tenant_id text, title text)")
    world.sql("INSERT INTO public.claims SELECT 'alpha', 'x' FROM generate_series(1, 5)")
    backup = back_up(world)
    migrate_all(world)
    assert "it has no key" in refusal(world, from_backup=backup.backup_id)


def test_composite_keys_and_types_of_their_own_are_found_in_the_backup(world: World) -> None:
    world.sql("CREATE TYPE public.kind AS ENUM ('a', 'b')")
    world.sql(
        'CREATE TABLE public.claims (kind public.kind, "the % id" varchar(10), at timestamptz,'
        ' tenant_id text, PRIMARY KEY (kind, "the % id", at))'
    )
    world.sql(
        "INSERT INTO public.claims SELECT 'b', i::text, now() + i * interval '1 day', 'alpha'"
        " FROM generate_series(1, 50) AS i"
    )
    backup = back_up(world)
    migrate_all(world)
    world.sql(f"DELETE FROM {journal_of(world)}")
    outcome = take_back(world, from_backup=backup.backup_id)
    assert outcome.reason is None
    assert outcome.rows_restored == 50
    assert world.one("SELECT count(organization_id) FROM public.claims") == 0
    checks = checks_of(outcome)
    assert checks["organizations_as_in_backup"].rows_checked == 50
    assert {check.outcome for check in outcome.checks} == {Outcome.PASSED}


def test_every_tenant_is_named(with_values: World) -> None:
    backup = back_up(with_values)
    migrate_all(with_values)
    outcome = take_back(with_values, from_backup=backup.backup_id)
    assert outcome.tenant_states == dict.fromkeys(TENANTS, "rolled_back")
