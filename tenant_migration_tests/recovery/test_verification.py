"""The verification of a rollback finds what a broken one leaves, and never passes what it could not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.planning.storage import load_plan, table_ids
from tenant_migration.recovery.results import RollbackResult
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration.recovery.verification import Before, look_before, verify_rollback
from tenant_migration_tests.backfill.conftest import TENANTS, World, bare_world, claims, world
from tenant_migration_tests.recovery.scenes import (
    TABLE,
    back_up,
    checks_of,
    config_of,
    migrate_all,
    take_back,
)

__all__ = ["bare_world", "claims", "world"]

ROWS = 500
MIGRATED = 480  # without those of no tenant and of the system tenant

LEFT_OPEN = "nothing_left_to_roll_back"
ACCOUNTED = "rollback_accounts_for_every_row"
RESTORED = "rows_have_their_earlier_value"
ORGANIZATIONS = "organizations_as_in_backup"
OTHER_COLUMNS = "other_columns_as_in_backup"
CHECKSUM = "checksum_as_in_backup"


OTHER = (
    "SELECT o.id FROM public.organizations o WHERE o.id <> (SELECT m.organization_id FROM public.claims c"
    " JOIN public.tenant_org_mappings m USING (tenant_id) WHERE c.id = 10) ORDER BY o.id LIMIT 1"
)
"""An organization that is not the mapped one of claim 10."""


class Rolled:
    """A rollback by the engine alone, so that a test can break it before it is verified."""

    def __init__(self, world: World) -> None:
        connection = world.connection
        plan = load_plan(connection)
        [self.table] = plan.tables
        self.world = world
        self.numbers: dict[str, int] = dict(
            world.sql("SELECT tenant_id, tenant_number FROM tenant_migration.tenants")
        )
        self.before = look_before(connection, self.table, self.numbers, whole_table=True)
        run = start_rollback(connection, plan, actor="test")
        self.result: RollbackResult = roll_back_table(connection, plan, self.table, run)
        self.journal = f"tenant_migration.journal_{table_ids(connection)[TABLE]}"

    def write_as_ours(self, statement: str) -> None:
        """Write without a claim, as a wrong engine would."""
        with self.world.connection.transaction():
            self.world.sql("SELECT set_config('tenant_migration.backfill', 'on', true)")
            self.world.sql(statement)

    def verify(self, **changes: object) -> dict[str, CheckResult]:
        arguments = {
            "result": self.result,
            "tenants": self.numbers,
            "whole_table": True,
            "before": self.before,
            **changes,
        }
        results = verify_rollback(
            self.world.connection,
            config_of(self.world),
            self.table,
            **arguments,  # type: ignore[arg-type]
        )
        return {result.name: result for result in results}


@pytest.fixture
def migrated(claims: Callable[[int], World]) -> World:
    """Claims that were backed up whole, then migrated."""
    world = claims(ROWS)
    back_up(world)
    migrate_all(world)
    return world


@pytest.fixture
def rolled(migrated: World) -> Rolled:
    return Rolled(migrated)


def test_a_sound_rollback_passes_everything_and_the_checksum_proves_it(rolled: Rolled) -> None:
    checks = rolled.verify()
    assert {check.outcome for check in checks.values()} == {Outcome.PASSED}
    assert {name: check.rows_checked for name, check in checks.items()} == {
        LEFT_OPEN: MIGRATED,
        ACCOUNTED: MIGRATED,
        RESTORED: MIGRATED,
        ORGANIZATIONS: ROWS,
        OTHER_COLUMNS: ROWS,
        CHECKSUM: ROWS,
    }
    assert checks[CHECKSUM].details["checksum"] == checks[CHECKSUM].details["in_manifest"]
    assert checks[RESTORED].details["application_writes_are_known"] is True
    assert not any(check.blocks for check in checks.values())


def failed(check: CheckResult, count: int, severity: str = "critical") -> bool:
    return (check.outcome, check.count, check.severity) == (Outcome.FAILED, count, severity)


def test_checksums_of_two_formulas_are_not_compared(rolled: Rolled) -> None:
    backup = rolled.before.backup
    assert backup is not None
    assert backup.checksum_formula == 1
    rolled.before = replace(rolled.before, backup=replace(backup, checksum_formula=7))
    checks = rolled.verify()
    assert checks[CHECKSUM].outcome is Outcome.SKIPPED
    assert checks[CHECKSUM].reason == "the backup's checksum is of formula 7, this release's of 1"


def test_an_entry_that_stays_open_is_found_with_its_tenant(rolled: Rolled) -> None:
    rolled.world.sql(
        f"UPDATE {rolled.journal} SET closed_at = NULL, closed_rows = 0 WHERE batch_id ="
        f" (SELECT min(batch_id) FROM {rolled.journal})"
    )
    check = rolled.verify()[LEFT_OPEN]
    assert check.outcome is Outcome.FAILED
    assert check.blocks
    assert sum(check.details["tenants"].values()) == check.count > 0
    assert set(check.details["tenants"]) <= set(TENANTS)
    assert 0 < len(check.examples) <= 10


def test_rows_that_still_carry_what_was_written_are_found(rolled: Rolled) -> None:
    rolled.write_as_ours(
        "UPDATE public.claims c SET organization_id = m.organization_id FROM public.tenant_org_mappings m"
        " WHERE m.tenant_id = c.tenant_id AND c.id IN (10, 20)"
    )
    checks = rolled.verify()
    assert failed(checks[RESTORED], 2)
    assert set(checks[RESTORED].examples) == {"10", "20"}
    assert sum(checks[RESTORED].details["tenants"].values()) == 2
    assert failed(checks[ORGANIZATIONS], 2)
    assert set(checks[ORGANIZATIONS].examples) == {"10", "20"}
    assert checks[CHECKSUM].outcome is Outcome.SKIPPED
    assert checks[CHECKSUM].reason == "rows differ"


def test_a_value_that_nobody_ever_wrote_is_found_where_claims_are_recorded(rolled: Rolled) -> None:
    rolled.write_as_ours(f"UPDATE public.claims SET organization_id = ({OTHER}) WHERE id = 10")
    checks = rolled.verify()
    assert failed(checks[RESTORED], 1)
    assert failed(checks[ORGANIZATIONS], 1)


def test_what_the_application_wrote_since_is_no_fault(rolled: Rolled) -> None:
    """It claims its rows: changed, and written again with the very value that was taken back."""
    rolled.world.sql(f"UPDATE public.claims SET organization_id = ({OTHER}) WHERE id = 10")
    rolled.world.sql(
        "UPDATE public.claims c SET organization_id = m.organization_id FROM public.tenant_org_mappings m"
        " WHERE m.tenant_id = c.tenant_id AND c.id = 20"
    )
    rolled.world.sql("DELETE FROM public.claims WHERE id = 30")
    rolled.world.sql("INSERT INTO public.claims (id, tenant_id) VALUES (9000, 'alpha')")
    rolled.world.sql("UPDATE public.claims SET title = 'other' WHERE id IN (40, 41)")
    checks = rolled.verify()
    assert checks[RESTORED].outcome is Outcome.PASSED
    assert checks[RESTORED].details["changed_since"] == 2
    assert checks[RESTORED].details["gone"] == 1
    assert checks[ORGANIZATIONS].outcome is Outcome.PASSED
    assert checks[ORGANIZATIONS].details["organization_by_application"] == 2
    assert failed(checks[OTHER_COLUMNS], 4, "warning")
    assert not checks[OTHER_COLUMNS].blocks
    details = checks[OTHER_COLUMNS].details
    assert (details["other_columns"], details["missing"], details["new"]) == (2, 1, 1)
    assert set(checks[OTHER_COLUMNS].examples) == {
        "10 (different)",
        "20 (different)",
        "30 (missing)",
        "40 (different)",
        "41 (different)",
        "9000 (new)",
    }


def test_without_the_claim_trigger_only_our_own_value_is_surely_wrong(claims: Callable[[int], World]) -> None:
    world = claims(ROWS)
    world.settings = {"defaults": {"claim_trigger": False}}
    migrate_all(world)
    rolled = Rolled(world)
    world.sql(f"UPDATE public.claims SET organization_id = ({OTHER}) WHERE id = 10")
    checks = rolled.verify()
    assert checks[RESTORED].outcome is Outcome.PASSED
    assert checks[RESTORED].details["changed_since"] == 1
    assert checks[RESTORED].details["application_writes_are_known"] is False
    world.sql(
        "UPDATE public.claims c SET organization_id = m.organization_id FROM public.tenant_org_mappings m"
        " WHERE m.tenant_id = c.tenant_id AND c.id = 20"
    )
    assert failed(rolled.verify()[RESTORED], 1)


def test_an_earlier_value_that_was_not_brought_back_is_found(claims: Callable[[int], World]) -> None:
    """A rollback that sets NULL instead of what was there (the original's)."""
    world = claims(ROWS)
    world.settings = {"defaults": {"on_existing_value": "overwrite"}}
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql(
        "UPDATE public.claims SET organization_id = (SELECT organization_id"
        " FROM public.tenant_org_mappings WHERE tenant_id = 'alpha') WHERE tenant_id = 'beta'"
    )
    back_up(world)
    migrate_all(world)
    rolled = Rolled(world)
    assert {check.outcome for check in rolled.verify().values()} == {Outcome.PASSED}
    rolled.write_as_ours(
        "UPDATE public.claims SET organization_id = NULL WHERE tenant_id = 'beta' AND id < 100"
    )
    lost = world.one("SELECT count(*) FROM public.claims WHERE tenant_id = 'beta' AND id < 100")
    checks = rolled.verify()
    assert failed(checks[RESTORED], lost)
    assert checks[RESTORED].details["tenants"] == {"beta": lost}
    assert failed(checks[ORGANIZATIONS], lost)


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("UPDATE tenant_migration.table_runs SET rows_restored = rows_restored - 3", 6),
        ("UPDATE tenant_migration.table_runs SET rows_changed = rows_changed + 2", 4),
        (
            "INSERT INTO tenant_migration.left_alone (run_id, table_id, reason, tenant_numbers, row_keys,"
            " found_values) SELECT run_id, table_id, 'deleted', '{1}', '{\"{}\"}', '{NULL}'"
            " FROM tenant_migration.table_runs ORDER BY run_id DESC LIMIT 1",
            1,
        ),
    ],
)
def test_counters_list_and_journal_that_disagree_are_found(
    rolled: Rolled, statement: str, difference: int
) -> None:
    rolled.world.sql(statement)
    assert failed(rolled.verify()[ACCOUNTED], difference)


def test_values_exchanged_between_rows_are_found(rolled: Rolled) -> None:
    """Sums of plain record hashes would not see it."""
    rolled.world.sql(
        "UPDATE public.claims c SET title = o.title FROM public.claims o"
        " WHERE (c.id, o.id) IN ((50, 51), (51, 50))"
    )
    assert failed(rolled.verify()[OTHER_COLUMNS], 2, "warning")


def test_a_copy_that_lost_rows_proves_nothing(rolled: Rolled) -> None:
    relation = rolled.before.backup.relation if rolled.before.backup else ""
    rolled.world.sql(f"DELETE FROM tenant_migration.{relation} WHERE id > 100")
    checks = rolled.verify()
    assert failed(checks[ORGANIZATIONS], 400)
    assert checks[ORGANIZATIONS].details["rows_lost_in_backup"] == 400
    rolled.world.sql(f"DELETE FROM tenant_migration.{relation}")
    assert rolled.verify()[ORGANIZATIONS].outcome is not Outcome.PASSED


def test_a_copy_that_somebody_changed_together_with_the_table_is_found_by_the_manifest(
    rolled: Rolled,
) -> None:
    relation = rolled.before.backup.relation if rolled.before.backup else ""
    rolled.world.sql("UPDATE public.claims SET title = 'forged' WHERE id = 10")
    rolled.world.sql(f"UPDATE tenant_migration.{relation} SET title = 'forged' WHERE id = 10")
    checks = rolled.verify()
    assert checks[OTHER_COLUMNS].outcome is Outcome.PASSED
    assert failed(checks[CHECKSUM], 1)


@pytest.mark.parametrize("name", [LEFT_OPEN, RESTORED])
def test_a_journal_that_is_gone_is_an_error_and_no_pass(rolled: Rolled, name: str) -> None:
    rolled.world.sql(f"DROP TABLE {rolled.journal} CASCADE")
    check = rolled.verify()[name]
    assert check.outcome is Outcome.ERRORED
    assert check.blocks


def test_a_check_that_cannot_run_is_an_error_and_takes_no_other_with_it(rolled: Rolled) -> None:
    relation = rolled.before.backup.relation if rolled.before.backup else ""
    rolled.world.sql(f"DROP TABLE tenant_migration.{relation}")
    checks = rolled.verify()
    assert checks[ORGANIZATIONS].outcome is Outcome.ERRORED
    assert checks[ORGANIZATIONS].blocks
    assert checks[OTHER_COLUMNS].outcome is Outcome.SKIPPED
    assert checks[RESTORED].outcome is Outcome.PASSED


def test_columns_that_came_and_went_are_said(rolled: Rolled) -> None:
    rolled.world.sql("ALTER TABLE public.claims ADD COLUMN extra text DEFAULT 'x'")
    checks = rolled.verify()
    assert {check.outcome for check in checks.values()} == {Outcome.PASSED}
    rolled.world.sql("ALTER TABLE public.claims ALTER COLUMN title TYPE varchar(200)")
    checks = rolled.verify()
    assert checks[ORGANIZATIONS].outcome is Outcome.PASSED
    assert failed(checks[OTHER_COLUMNS], 1, "warning")
    assert checks[OTHER_COLUMNS].details["columns_left_out"] == ["title"]
    assert checks[CHECKSUM].outcome is Outcome.SKIPPED


def test_nothing_is_known_without_a_backup_from_before(claims: Callable[[int], World]) -> None:
    world = claims(ROWS)
    migrate_all(world)
    back_up(world)  # after the migration: holds what it wrote
    checks = checks_of(take_back(world))
    for name in (ORGANIZATIONS, OTHER_COLUMNS, CHECKSUM):
        assert checks[name].outcome is Outcome.SKIPPED
        assert "from before the migration" in str(checks[name].reason)


def test_one_tenant_is_compared_with_its_own_backup(claims: Callable[[int], World]) -> None:
    world = claims(ROWS)
    backup = back_up(world, tenants=["beta"])
    migrate_all(world)
    rows = world.one("SELECT count(*) FROM public.claims WHERE tenant_id = 'beta'")
    checks = checks_of(take_back(world, tenants=["beta"]))
    assert {check.outcome for check in checks.values()} == {Outcome.PASSED}
    assert checks[ORGANIZATIONS].rows_checked == rows
    assert checks[ORGANIZATIONS].details["backup"] == backup.backup_id
    assert checks[CHECKSUM].rows_checked == rows
    assert checks[LEFT_OPEN].rows_checked == rows


def test_one_tenant_is_compared_with_a_whole_backup_without_a_look_at_the_others(migrated: World) -> None:
    migrated.sql("UPDATE public.claims SET title = 'other' WHERE tenant_id = 'alpha'")
    rows = migrated.one("SELECT count(*) FROM public.claims WHERE tenant_id = 'beta'")
    outcome = take_back(migrated, tenants=["beta"])
    checks = checks_of(outcome)
    assert outcome.state == "rolled_back"
    assert checks[ORGANIZATIONS].rows_checked == rows
    assert checks[OTHER_COLUMNS].outcome is Outcome.PASSED
    assert checks[CHECKSUM].outcome is not Outcome.PASSED  # of all rows: says nothing about one tenant


def test_a_verification_that_fails_fails_the_pair_and_the_table(
    migrated: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback that forgets one row: nobody may call that tenant rolled back."""

    def forgetful(*arguments: object, **options: object) -> RollbackResult:
        result = roll_back_table(*arguments, **options)  # type: ignore[arg-type]
        with psycopg.connect(migrated.url) as other:
            other.execute("SELECT set_config('tenant_migration.backfill', 'on', true)")
            other.execute(
                "UPDATE public.claims c SET organization_id = m.organization_id"
                " FROM public.tenant_org_mappings m WHERE m.tenant_id = c.tenant_id AND c.id = ("
                " SELECT min(id) FROM public.claims WHERE tenant_id = 'beta')"
            )
        return replace(result)

    monkeypatch.setattr("tenant_migration.workflow.rollback.roll_back_table", forgetful)
    outcome = take_back(migrated)
    assert outcome.state == "failed"
    assert outcome.tenant_states == dict.fromkeys(TENANTS, "rolled_back") | {"beta": "failed"}
    assert "do not have their earlier organization: 1" in str(outcome.reason)
    assert migrated.states(TABLE)["beta"] == "failed"


def test_before_is_nothing_where_nothing_is_open(migrated: World) -> None:
    numbers = dict(migrated.sql("SELECT tenant_id, tenant_number FROM tenant_migration.tenants"))
    take_back(migrated)
    [table] = load_plan(migrated.connection).tables
    assert look_before(migrated.connection, table, numbers, whole_table=True) == Before(
        None, None, "nothing was taken back"
    )
