"""Taking back through the workflow: scope and refusals, order, states, record, idempotence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.config import DATABASE_URL_VARIABLE, MigrationConfig
from tenant_migration.errors import Refused, TenantMigrationError, UnknownTable, UnknownTenant, UsageError
from tenant_migration.integrity.model import Outcome
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback import resolve_rollback, rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration_tests.workflow.conftest import TENANTS

ALL = ("public.members", "public.claims", "public.notes")


def migrated(connection: psycopg.Connection, config: MigrationConfig, **selection: Any) -> None:
    """Migrate, whatever the states were."""
    plan = stored_or_new_plan(connection, config, actor="test")
    outcomes = migrate(connection, config, plan, actor="test", **selection)
    assert {outcome.state for outcome in outcomes} == {"completed"}, outcomes


def take_back(
    connection: psycopg.Connection, config: MigrationConfig, **selection: Any
) -> dict[str, RollbackOutcome]:
    """Roll back; outcomes by table."""
    outcomes = rollback(connection, config, load_plan(connection), actor="test", **selection)
    return {outcome.table: outcome for outcome in outcomes}


def all_good(outcomes: dict[str, RollbackOutcome]) -> bool:
    """Say whether every table is rolled back and nothing stands against it."""
    assert all(outcome.reason is None for outcome in outcomes.values()), outcomes
    return bool(outcomes) and {outcome.state for outcome in outcomes.values()} == {"rolled_back"}


def with_organization(connection: psycopg.Connection) -> dict[str, int]:
    """Rows of each table that have an organization, by SQL alone."""
    counts = {}
    for table in ALL:
        row = connection.execute(f"SELECT count(organization_id) FROM {table}").fetchone()
        assert row is not None
        counts[table] = int(row[0])
    return counts


def statuses(connection: psycopg.Connection) -> dict[str, tuple[str, int]]:
    rows = connection.execute(
        "SELECT tenant_id, migration_status, record_count FROM public.tenant_org_mappings"
    )
    return {tenant: (status, count) for tenant, status, count in rows}


def pair_state(connection: psycopg.Connection, table: str, tenant: str) -> tuple[str, str | None]:
    row = connection.execute(
        "SELECT s.state, s.reason FROM tenant_migration.table_states s"
        " JOIN tenant_migration.managed_tables t USING (table_id)"
        " JOIN tenant_migration.tenants n USING (tenant_number) WHERE t.table_name = %s AND n.tenant_id = %s",
        [table, tenant],
    ).fetchone()
    assert row is not None
    return row


def test_everything_is_taken_back_children_first(application, config):
    migrated(application, config)
    outcomes = take_back(application, config)
    assert all_good(outcomes)
    assert list(outcomes).index("public.claims") < list(outcomes).index("public.members")
    assert with_organization(application) == dict.fromkeys(ALL, 0)
    assert statuses(application) == dict.fromkeys(TENANTS, ("rolled_back", 0))
    assert sum(outcome.rows_restored for outcome in outcomes.values()) == 630
    runs = application.execute("SELECT state FROM tenant_migration.runs WHERE kind = 'rollback'").fetchall()
    assert runs == [("rolled_back",)]


def test_one_tenant_is_taken_back_and_no_other_and_can_be_migrated_again(application, config):
    migrated(application, config)
    assert all_good(take_back(application, config, tenants=["O'Brien Local"]))
    assert statuses(application) == {
        "acme": ("completed", 210),
        "O'Brien Local": ("rolled_back", 0),
        "zeta": ("completed", 210),
    }
    left = application.execute(
        "SELECT DISTINCT tenant_id FROM public.claims WHERE organization_id IS NULL"
    ).fetchall()
    assert left == [("O'Brien Local",)]
    migrated(application, config, tenants=["O'Brien Local"])
    assert statuses(application)["O'Brien Local"] == ("completed", 210)


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"tables": ["claimz"]}, UnknownTable, "did you mean 'claims'"),
        ({"tenants": ["acmee"]}, UnknownTenant, r"no tenant 'acmee'.*did you mean 'acme'"),
        ({"tenants": ["' OR ''='"]}, UnknownTenant, "nothing of it was ever migrated"),
        ({"from_backup": 77}, Refused, "there is no backup 77"),
        ({"tenants": ["acme"], "drop_created": True}, UsageError, "whole tables"),
        ({"tables": ["members"]}, Refused, r"its child public\.claims is migrated for"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_changes(application, config, selection, error, message):
    migrated(application, config)
    before = application.execute("SELECT max(run_id) FROM tenant_migration.runs").fetchone()
    with pytest.raises(error, match=message) as refusal:
        take_back(application, config, **selection)
    assert isinstance(refusal.value, TenantMigrationError)
    assert refusal.value.exit_code == (2 if error is UsageError else 1)
    assert application.execute("SELECT max(run_id) FROM tenant_migration.runs").fetchone() == before
    assert with_organization(application) == {"public.members": 300, "public.claims": 300, "public.notes": 30}


def test_a_tenant_that_was_never_migrated_says_so(application, config):
    migrated(application, config, tenants=["acme"])
    with pytest.raises(Refused, match=r"tenant 'zeta' was never migrated") as refusal:
        take_back(application, config, tenants=["zeta"])
    assert refusal.value.exit_code == 1
    with pytest.raises(Refused, match=r"tenants 'zeta', 'O'Brien Local' were never|were never migrated"):
        take_back(application, config, tenants=["acme", "zeta", "O'Brien Local"])


def test_a_tenant_that_was_only_refused_by_the_checks_was_never_migrated(application, config):
    """Its pairs are `failed`, with nothing written: there is nothing to take back."""
    application.execute("ALTER TABLE public.members ADD COLUMN organization_id uuid")
    plan = stored_or_new_plan(application, config, actor="test")
    application.execute(
        "UPDATE public.members SET organization_id = gen_random_uuid() WHERE tenant_id = 'zeta'"
    )
    outcomes = migrate(application, config, plan, actor="test", tables=["members"], tenants=["zeta"])
    assert outcomes[0].state == "failed"
    with pytest.raises(Refused, match="'zeta' was never migrated"):
        take_back(application, config, tenants=["zeta"])


def test_a_second_rollback_finds_nothing_left_and_is_no_error(application, config):
    migrated(application, config)
    take_back(application, config)
    runs = application.execute("SELECT count(*) FROM tenant_migration.runs").fetchone()
    for selection in ({}, {"tables": ["claims"]}, {"tenants": ["acme"]}):
        scope = resolve_rollback(application, config, load_plan(application), **selection)
        assert "nothing is left to roll back" in str(scope.nothing_left)
        assert take_back(application, config, **selection) == {}
    assert application.execute("SELECT count(*) FROM tenant_migration.runs").fetchone() == runs


def test_a_rollback_before_any_migration_says_that_nothing_was_migrated(application, config):
    plan = stored_or_new_plan(application, config, actor="test")
    assert "nothing was migrated yet" in str(resolve_rollback(application, config, plan).nothing_left)


def test_with_children_takes_the_children_too(application, config):
    migrated(application, config)
    outcomes = take_back(application, config, tables=["members"], with_children=True)
    assert list(outcomes) == ["public.claims", "public.members"]
    assert all_good(outcomes)
    assert with_organization(application) == {"public.members": 0, "public.claims": 0, "public.notes": 30}


def test_a_parent_whose_children_are_rolled_back_is_not_refused(application, config):
    migrated(application, config)
    assert all_good(take_back(application, config, tables=["claims"]))
    assert all_good(take_back(application, config, tables=["members"]))


def test_a_child_that_cannot_be_taken_back_blocks_its_parent_for_that_tenant_alone(application, config):
    """One row of acme refuses the reset: its tenant fails, its parent waits, all others are rolled back."""
    migrated(application, config)
    refuse_reset_of(application, 3)
    outcomes = take_back(application, config)
    claims, members, notes = (
        outcomes[table] for table in ("public.claims", "public.members", "public.notes")
    )
    assert claims.state == "failed"
    assert claims.result.rows_failed == 1
    assert claims.tenant_states == {"acme": "failed", "O'Brien Local": "rolled_back", "zeta": "rolled_back"}
    assert members.state == "failed"
    assert members.tenant_states == {
        "acme": "blocked",
        "O'Brien Local": "rolled_back",
        "zeta": "rolled_back",
    }
    assert pair_state(application, "members", "acme") == (
        "blocked",
        "children not rolled back: public.claims",
    )
    assert notes.state == "rolled_back"
    assert with_organization(application) == {"public.members": 100, "public.claims": 1, "public.notes": 0}
    assert statuses(application)["acme"][0] == "failed"

    application.execute("DROP TRIGGER keeps_one ON public.claims")
    again = take_back(application, config)
    assert all_good(again)
    assert with_organization(application) == dict.fromkeys(ALL, 0)
    assert statuses(application) == dict.fromkeys(TENANTS, ("rolled_back", 0))


def test_where_every_tenant_waits_the_table_is_blocked(application, config):
    migrated(application, config)
    application.execute(
        "CREATE FUNCTION public.never() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'rows are final'; END $$"
    )
    application.execute(
        "CREATE TRIGGER final BEFORE UPDATE ON public.claims FOR EACH ROW EXECUTE FUNCTION public.never()"
    )
    config_fast = MigrationConfig.model_validate({"defaults": {"retry_attempts": 2}})
    outcomes = take_back(application, config_fast)
    assert outcomes["public.claims"].state == "failed"
    assert outcomes["public.members"].state == "blocked"
    assert outcomes["public.members"].result is None
    assert "public.claims" in str(outcomes["public.members"].reason)
    assert with_organization(application)["public.members"] == 300


def refuse_reset_of(connection: psycopg.Connection, key: int) -> None:
    connection.execute(
        "CREATE FUNCTION public.keep_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.id = {key} AND NEW.organization_id IS NULL THEN RAISE EXCEPTION 'row is final'; END IF;"
        " RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE TRIGGER keeps_one BEFORE UPDATE ON public.claims"
        " FOR EACH ROW EXECUTE FUNCTION public.keep_one()"
    )


def test_organizations_that_the_application_wrote_stay_and_are_listed(application, config):
    """Changed to another, written again with the same value, deleted: none is brought back."""
    migrated(application, config)
    other = "00000000-0000-0000-0000-0000000000a2"
    application.execute("UPDATE public.claims SET organization_id = %s WHERE id = 3", [other])
    application.execute("UPDATE public.claims SET organization_id = NULL WHERE id = 6")
    application.execute(
        "UPDATE public.claims SET organization_id = '00000000-0000-0000-0000-0000000000a1' WHERE id = 6"
    )
    application.execute("DELETE FROM public.claims WHERE id = 9")
    application.execute(
        "INSERT INTO public.claims (id, tenant_id, organization_id) VALUES (1000, 'acme', %s)", [other]
    )
    outcomes = take_back(application, config)
    assert all_good(outcomes)
    result = outcomes["public.claims"].result
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (297, 2, 1)
    assert {(row.row_key["id"], row.reason) for row in result.left_alone} == {
        ("3", "changed"),
        ("6", "changed"),
        ("9", "deleted"),
    }
    rows = application.execute(
        "SELECT id, organization_id::text FROM public.claims WHERE organization_id IS NOT NULL ORDER BY id"
    ).fetchall()
    assert rows == [(3, other), (6, "00000000-0000-0000-0000-0000000000a1"), (1000, other)]


def test_values_that_were_there_before_come_back(application):
    config = MigrationConfig.model_validate({"defaults": {"on_existing_value": "overwrite"}})
    application.execute("ALTER TABLE public.notes ADD COLUMN organization_id uuid")
    application.execute(
        "UPDATE public.notes SET organization_id = '00000000-0000-0000-0000-0000000000a3'"
        " WHERE tenant_id = 'acme'"
    )
    migrated(application, config)
    assert all_good(take_back(application, config))
    rows = application.execute(
        "SELECT tenant_id, organization_id::text, count(*) FROM public.notes GROUP BY 1, 2 ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("O'Brien Local", None, 10),
        ("acme", "00000000-0000-0000-0000-0000000000a3", 10),
        ("zeta", None, 10),
    ]


def test_the_audit_log_has_every_rollback_with_counts_and_duration(application, config):
    migrated(application, config)
    take_back(application, config, tenants=["acme"])
    rows = application.execute(
        "SELECT operation, outcome, table_name, tenant_id, counts->>'rows_restored', duration_ms IS NOT NULL,"
        " actor FROM public.migration_audit_log WHERE operation LIKE 'rollback%' ORDER BY seq"
    ).fetchall()
    assert rows == [
        ("rollback", "started", None, "acme", None, False, "test"),
        ("rollback table", "rolled_back", "public.notes", "acme", "10", True, "test"),
        ("rollback table", "rolled_back", "public.claims", "acme", "100", True, "test"),
        ("rollback table", "rolled_back", "public.members", "acme", "100", True, "test"),
        ("rollback", "rolled_back", None, None, "210", False, "test"),
    ]


def test_a_rollback_that_failed_is_in_the_audit_log_with_its_reason(application):
    config = MigrationConfig.model_validate({"defaults": {"lease_wait_s": 0}})
    migrated(application, config)
    application.execute(
        "SELECT tenant_migration.acquire_lease(gen_random_uuid(), table_id, NULL, 1, 'run 1 of somebody',"
        " '1 min') FROM tenant_migration.managed_tables WHERE table_name = 'notes'"
    )
    outcomes = take_back(application, config)
    assert outcomes["public.notes"].state == "failed"
    assert "run 1 of somebody" in str(outcomes["public.notes"].reason)
    assert outcomes["public.claims"].state == "rolled_back"
    rows = application.execute(
        "SELECT operation, outcome, detail::text FROM public.migration_audit_log"
        " WHERE operation LIKE 'rollback%' AND outcome = 'failed' ORDER BY seq"
    ).fetchall()
    assert [row[0] for row in rows] == ["rollback table", "rollback"]
    assert all("run 1 of somebody" in row[2] for row in rows)


def test_an_interrupted_rollback_says_cancelled_and_the_next_one_finishes(application, config):
    def interrupt(event: Any) -> None:
        if event.rows_done:
            raise KeyboardInterrupt

    migrated(application, config)
    with pytest.raises(KeyboardInterrupt):
        take_back(application, config, progress=interrupt)
    assert application.execute(
        "SELECT state FROM tenant_migration.runs WHERE kind = 'rollback'"
    ).fetchall() == [("cancelled",)]
    assert application.execute("SELECT count(*) FROM tenant_migration.leases").fetchone() == (0,)
    assert all_good(take_back(application, config))
    assert with_organization(application) == dict.fromkeys(ALL, 0)


def test_a_table_that_left_the_plan_and_carries_rows_is_named(application, config):
    migrated(application, config)
    without = MigrationConfig.model_validate({"tables": {"notes": {"exclude": True}}})
    rows = "UPDATE tenant_migration.table_states SET rows_migrated = {} WHERE rows_migrated > 0"
    application.execute("CREATE TEMPORARY TABLE states AS TABLE tenant_migration.table_states")
    application.execute(rows.format(0))  # as if it had left when nothing was migrated yet
    store_plan(application, build_plan(application, without), "test")
    application.execute(
        "UPDATE tenant_migration.table_states AS t SET rows_migrated = s.rows_migrated FROM states AS s"
        " WHERE s.table_id = t.table_id AND s.tenant_number = t.tenant_number"
    )
    with pytest.raises(
        Refused, match=r"no longer in the plan carry migrated rows:\n  public\.notes: 30 rows"
    ):
        take_back(application, without)
    assert all_good(take_back(application, without, tables=["claims", "members"]))
    store_plan(application, build_plan(application, config), "test")
    assert all_good(take_back(application, config))
    assert with_organization(application) == dict.fromkeys(ALL, 0)


def test_a_journal_that_lost_entries_is_no_ground_to_call_a_table_rolled_back(application, config):
    migrated(application, config)
    application.execute("DELETE FROM " + journal_of(application, "notes"))
    outcomes = take_back(application, config, tables=["notes"])
    assert outcomes["public.notes"].state == "failed"
    assert "30 rows" in str(outcomes["public.notes"].reason)
    assert "--from-backup" in str(outcomes["public.notes"].reason)
    assert pair_state(application, "notes", "acme")[0] == "failed"
    assert "--from-backup" in str(take_back(application, config, tables=["notes"])["public.notes"].reason)
    assert with_organization(application)["public.notes"] == 30


def test_tenants_whose_entries_are_complete_go_on_when_others_are_lost(application, config):
    migrated(application, config)
    number = application.execute(
        "SELECT tenant_number FROM tenant_migration.tenants WHERE tenant_id = 'acme'"
    ).fetchone()[0]
    application.execute(
        "UPDATE tenant_migration.table_states SET rows_migrated = 11 WHERE tenant_number = %s"
        " AND table_id = (SELECT table_id FROM tenant_migration.managed_tables WHERE table_name = 'notes')",
        [number],
    )
    outcome = take_back(application, config, tables=["notes"])["public.notes"]
    assert outcome.tenant_states == {"acme": "failed", "O'Brien Local": "rolled_back", "zeta": "rolled_back"}
    assert "does not name 1 row of 'acme'" in str(outcome.reason)
    assert outcome.rows_restored == 20
    assert with_organization(application)["public.notes"] == 10


def journal_of(connection: psycopg.Connection, table: str) -> str:
    row = connection.execute(
        "SELECT 'tenant_migration.journal_' || table_id FROM tenant_migration.managed_tables"
        " WHERE table_name = %s",
        [table],
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_every_check_of_the_verification_passes_or_says_why_it_could_not_run(application, config):
    migrated(application, config)
    outcome = take_back(application, config, tables=["claims"])["public.claims"]
    checks = {check.name: check for check in outcome.checks}
    assert checks["nothing_left_to_roll_back"].outcome is Outcome.PASSED
    assert checks["nothing_left_to_roll_back"].rows_checked == 300
    assert checks["rollback_accounts_for_every_row"].outcome is Outcome.PASSED
    assert checks["rows_have_their_earlier_value"].outcome is Outcome.PASSED
    assert checks["rows_have_their_earlier_value"].rows_checked == 300
    for name in ("organizations_as_in_backup", "other_columns_as_in_backup", "checksum_as_in_backup"):
        assert checks[name].outcome is Outcome.SKIPPED
        assert "no verified backup" in str(checks[name].reason)


def test_without_verify_no_row_of_the_table_is_looked_at_again(application, config):
    migrated(application, config)
    outcome = take_back(application, config, tables=["claims"], verify=False)["public.claims"]
    assert [check.name for check in outcome.checks] == ["rollback_accounts_for_every_row"]
    assert all(check.outcome is Outcome.PASSED for check in outcome.checks)


@pytest.mark.newest_server_by_default
@pytest.mark.parametrize("point", ["rollback_pairs_started", "rollback_after_commit:2", "rollback_counted"])
def test_a_rollback_that_was_killed_is_finished_by_the_next(application, config, database, point):
    """Its pairs stay `rolling_back` with the count from before: that is no journal that lost entries."""
    migrated(application, config)
    roll_back_and_die(application, database, point)
    assert all_good(take_back(application, config))
    assert with_organization(application) == dict.fromkeys(ALL, 0)
    assert statuses(application) == dict.fromkeys(TENANTS, ("rolled_back", 0))


@pytest.mark.newest_server_by_default
@pytest.mark.parametrize("point", ["rollback_pairs_started", "rollback_after_commit:2", "rollback_counted"])
def test_a_migration_follows_a_rollback_that_was_killed(application, config, database, point):
    migrated(application, config)
    before = with_organization(application)
    roll_back_and_die(application, database, point)
    assert "rolling_back" in states(application)
    migrated(application, config, tenants=["acme"])
    assert pair_state(application, "notes", "acme")[0] == "completed"
    migrated(application, config)
    assert with_organization(application) == before
    assert states(application) == {"completed"}
    assert all_good(take_back(application, config))
    assert with_organization(application) == dict.fromkeys(ALL, 0)


@pytest.mark.newest_server_by_default
def test_a_migration_keeps_away_from_a_rollback_that_goes_on(application, config, database):
    """A frozen process holds its lease: its pairs are its own until that expires."""
    impatient = config.model_copy(
        update={"defaults": config.defaults.model_copy(update={"lease_wait_s": 0.1})}
    )
    migrated(application, impatient)
    roll_back_and_die(application, database, "rollback_after_commit:2")
    expire_leases_in(application, "1 hour")
    left = rolling_back(application)
    table = next(iter(left))
    plan = stored_or_new_plan(application, impatient, actor="test")
    outcomes = {outcome.table: outcome for outcome in migrate(application, impatient, plan, actor="test")}
    assert outcomes[table].state == "failed"
    assert "is being rolled back by run" in str(outcomes[table].reason)
    assert rolling_back(application) == left


@pytest.mark.newest_server_by_default
def test_a_migration_waits_for_the_lease_of_a_dead_rollback(application, config, database):
    migrated(application, config)
    before = with_organization(application)
    roll_back_and_die(application, database, "rollback_after_commit:2")
    expire_leases_in(application, "2 seconds")
    migrated(application, config)
    assert with_organization(application) == before
    assert states(application) == {"completed"}


def expire_leases_in(connection, interval):
    connection.execute(
        "UPDATE tenant_migration.leases SET expires_at = clock_timestamp() + %s::interval", (interval,)
    )


def rolling_back(connection) -> dict[str, list[int]]:
    return dict(
        connection.execute(
            "SELECT t.table_schema || '.' || t.table_name, array_agg(tenant_number ORDER BY tenant_number)"
            " FROM tenant_migration.table_states JOIN tenant_migration.managed_tables AS t USING (table_id)"
            " WHERE state = 'rolling_back' GROUP BY 1"
        ).fetchall()
    )


def states(connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT DISTINCT state FROM tenant_migration.table_states")}


def roll_back_and_die(connection, database, point):
    """Kill the process of a rollback at one of its points, and let its lease expire."""
    program = (
        "from tenant_migration import rollback_all_tables\n"
        "from tenant_migration.config import MigrationConfig\n"
        "rollback_all_tables(config=MigrationConfig())\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, DATABASE_URL_VARIABLE: database, failpoints.VARIABLE: point},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    expire_leases_in(connection, "0")
