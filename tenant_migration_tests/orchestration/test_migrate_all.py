"""The job over all tables and tenants: one run that records everything on the assets of single runs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tenant_migration.orchestration.build import build_definitions
from tenant_migration.quickstart.sample import UNMAPPED_TENANT
from tenant_migration_tests.orchestration.conftest import (
    App,
    Dagster,
    failure_messages,
    store_new_plan,
    write_config,
)
from tenant_migration_tests.versions import every_server

CHILDREN_OF_CLAIMS = {"documents", "grievances"}


@every_server
def test_every_tenant_and_table_is_recorded_as_the_database_has_it(app: App, dagster: Dagster) -> None:
    result = dagster.run("migrate_all")

    assert result.success, failure_messages(result)
    states = app.states()
    assert set(states.values()) == {"completed"}
    assert len(states) == len(app.plan.tables) * len(app.tenants)
    for table in app.plan.tables:
        name = table.table_name
        assert dagster.materialized(name) == set(app.tenants)
        for check in ("validation", "verification"):
            assert dagster.check_results(name, check) == dict.fromkeys(app.tenants, (True, True))
        rows = app.rows_by_tenant(name)
        recorded = {tenant: dagster.materialization(name, tenant)["rows_migrated"] for tenant in app.tenants}
        assert recorded == {tenant: rows.get(tenant, 0) for tenant in app.tenants}
        assert sum(rows.values()) > 0


def test_the_rows_have_the_organization_that_the_mapping_says(app: App, migrated: Dagster) -> None:
    for table in app.plan.tables:
        [[wrong]] = app.query(
            f"SELECT count(*) FROM {table.table_name} t LEFT JOIN tenant_org_mappings m USING (tenant_id)"
            " WHERE t.organization_id IS DISTINCT FROM m.organization_id"
        )
        assert wrong == 0, table.qualified_name


def test_the_runs_row_in_the_database_names_the_dagster_run(app: App, migrated: Dagster) -> None:
    [run] = migrated.instance.get_runs()
    assert app.query("SELECT state, dagster_run_id FROM tenant_migration.runs WHERE kind = 'migrate'") == [
        ("completed", run.run_id)
    ]


def test_of_very_many_tenants_the_passed_gate_before_is_not_recorded_for_each(
    app: App, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant_migration.orchestration.record.IN_FULL_MOST", len(app.tenants) - 1)
    result = dagster.run("migrate_all")
    assert result.success, failure_messages(result)
    tables = [table.table_name for table in app.plan.tables]
    for table in tables:
        assert dagster.check_results(table, "validation") == {}
        assert dagster.check_results(table, "verification") == dict.fromkeys(app.tenants, (True, True))
        recorded = [dagster.materialization(table, tenant) for tenant in app.tenants]
        assert all(metadata["checks_before"] > 10 for metadata in recorded)
        assert all(metadata["checks_after"] > 10 for metadata in recorded)


def test_mapping_complete_passes_on_the_mappings(migrated: Dagster) -> None:
    assert migrated.check_results("tenant_org_mappings", "mapping_complete") == {"None": (True, True)}


def test_running_again_changes_no_row_and_stays_green(app: App, migrated: Dagster) -> None:
    before = app.fingerprint()
    assert migrated.run("migrate_all").success
    assert app.fingerprint() == before
    for table in app.plan.tables:
        assert migrated.check_results(table.table_name, "verification") == dict.fromkeys(
            app.tenants, (True, True)
        )


def test_some_tables_and_tenants_only(app: App, dagster: Dagster) -> None:
    chosen = app.tenants[:2]
    result = dagster.run("migrate_all", ops={"start": {"tables": ["profiles"], "tenants": list(chosen)}})

    assert result.success, failure_messages(result)
    assert dagster.materialized("profiles") == set(chosen)
    assert set(app.rows_by_tenant("profiles")) == set(chosen)
    assert dagster.materialized("claims") == set()
    assert set(app.states()) == {("public.profiles", tenant) for tenant in chosen}


def test_a_table_whose_parents_are_pending_is_refused(app: App, dagster: Dagster) -> None:
    before = app.fingerprint()
    result = dagster.run("migrate_all", ops={"start": {"tables": ["documents"]}})

    assert not result.success
    [message] = failure_messages(result)
    assert "public.documents: parents public.claims, public.profiles are not completed" in message
    assert app.fingerprint() == before
    assert app.states() == {}


def test_with_parents_migrates_the_parents_first(app: App, dagster: Dagster) -> None:
    result = dagster.run("migrate_all", ops={"start": {"tables": ["documents"], "with_parents": True}})
    assert result.success, failure_messages(result)
    assert {table for table, _ in app.states()} == {"public.profiles", "public.claims", "public.documents"}


def test_a_table_that_cannot_go_on_blocks_its_children_alone(app: App, dagster: Dagster) -> None:
    hold_lease(app, "claims")
    result = dagster.run("migrate_all")

    assert not result.success
    [message] = failure_messages(result)
    assert "public.claims: failed: table public.claims is being worked on by the other run" in message
    assert "public.documents: blocked: parents public.claims are not completed" in message
    by_table = {table: state for (table, _), state in app.states().items()}
    assert {by_table[f"public.{name}"] for name in CHILDREN_OF_CLAIMS} == {"blocked"}
    others = {t.table_name for t in app.plan.tables} - CHILDREN_OF_CLAIMS - {"claims"}
    for name in others:
        assert by_table[f"public.{name}"] == "completed"
        assert dagster.materialized(name) == set(app.tenants)
    for name in CHILDREN_OF_CLAIMS | {"claims"}:
        assert dagster.materialized(name) == set()
    assert app.query(
        "SELECT state FROM tenant_migration.runs WHERE kind = 'migrate' AND dagster_run_id IS NOT NULL"
    ) == [("failed",)]


def test_after_the_cause_is_gone_the_next_run_does_only_what_is_left(app: App, dagster: Dagster) -> None:
    hold_lease(app, "claims")
    assert not dagster.run("migrate_all").success
    app.execute("DELETE FROM tenant_migration.leases")

    assert dagster.run("migrate_all").success
    assert set(app.states().values()) == {"completed"}
    assert dagster.materialized("documents") == set(app.tenants)
    assert dagster.materialization("profiles", app.tenants[-1])["rows_migrated"] == 0


def test_one_tenant_that_fails_keeps_the_others_going(app: App, instance: dg.DagsterInstance) -> None:
    bad = app.tenants[1]
    app.execute("ALTER TABLE claims ADD organization_id uuid")
    app.execute(
        f"ALTER TABLE claims ADD CONSTRAINT stubborn CHECK (organization_id IS NULL OR tenant_id <> '{bad}')"
    )
    dagster = Dagster(build_definitions(store_new_plan(app)), instance)
    result = dagster.run("migrate_all")

    assert not result.success
    good = set(app.tenants) - {bad}
    states = app.states()
    assert states["public.claims", bad] == "failed"
    assert states["public.documents", bad] == "blocked"
    assert {states["public.documents", tenant] for tenant in good} == {"completed"}
    for name in ("claims", "documents", "grievances"):
        assert dagster.materialized(name) == good
    results = dagster.check_results("claims", "verification")
    assert results[bad] == (False, True)
    assert {results[tenant] for tenant in good} == {(True, True)}
    for check in ("validation", "verification"):
        assert set(dagster.check_results("documents", check)) == good


def test_a_gate_that_refuses_a_further_run_materializes_nothing_again(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[0]
    app.execute(
        "UPDATE profiles SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings WHERE tenant_id <> %s LIMIT 1)"
        " WHERE id = (SELECT id FROM profiles WHERE tenant_id = %s LIMIT 1)",
        tenant,
        tenant,
    )
    result = migrated.run("migrate_all", ops={"start": {"tables": ["profiles"]}})

    assert not result.success
    assert "validation" in failure_messages(result)[0]
    assert [event for event in result.all_events if event.is_step_materialization] == []
    newest = migrated.instance.fetch_materializations(dg.AssetKey(["public", "profiles"]), limit=1).records[0]
    assert newest.run_id != result.run_id
    assert migrated.check_results("profiles", "validation")[tenant] == (False, True)
    assert set(app.states().values()) == {"completed"}


def test_a_tenant_without_mapping_refuses_the_whole_run(
    app: App, dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, monkeypatch, [])
    before = app.fingerprint()
    result = dagster.run("migrate_all")

    assert not result.success
    [message] = failure_messages(result)
    assert UNMAPPED_TENANT in message
    assert "allowed_unmapped_tenants" in message
    assert dagster.check_results("tenant_org_mappings", "mapping_complete") == {"None": (False, True)}
    assert app.fingerprint() == before
    assert app.states() == {}


def test_a_single_tenant_is_judged_on_itself(
    app: App, dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, monkeypatch, [])
    tenant = app.tenants[0]
    result = dagster.run("migrate_all", ops={"start": {"tenants": [tenant]}})
    assert result.success, failure_messages(result)
    assert {found for _, found in app.states()} == {tenant}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tables": ["claimz"]}, "did you mean 'claims'"),
        ({"tenants": ["nosuch"]}, "tenant 'nosuch' has no mapping"),
        ({"tenants": ["' OR ''='"]}, "has no mapping"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_starts(
    asked: dict[str, object], message: str, app: App, dagster: Dagster
) -> None:
    result = dagster.run("migrate_all", ops={"start": asked})
    assert not result.success
    assert message in failure_messages(result)[0]
    assert app.states() == {}


@pytest.mark.parametrize("asked", [{"tables": ["claimz"]}, {"tenants": ["nosuch"]}], ids=["table", "tenant"])
def test_a_misspelt_name_stores_no_plan(asked: dict[str, object], app: App, dagster: Dagster) -> None:
    app.execute("DELETE FROM tenant_migration.plans")
    assert not dagster.run("migrate_all", ops={"start": asked}).success
    assert app.query("SELECT FROM tenant_migration.plans") == []
    assert dagster.run("migrate_all", ops={"start": {"tables": ["profiles"]}}).success
    assert len(app.query("SELECT FROM tenant_migration.plans")) == 1


@pytest.mark.parametrize("dry_run", [False, True], ids=["migrate", "dry_run"])
def test_a_table_that_the_code_location_does_not_know_is_never_left_out_in_silence(
    dry_run: bool, app: App, dagster: Dagster
) -> None:
    app.execute("CREATE TABLE meetings AS SELECT 1 AS id, %s AS tenant_id", app.tenants[0])
    store_new_plan(app)
    result = dagster.run("migrate_all", ops={"start": {"dry_run": dry_run}})

    assert not result.success
    [message] = failure_messages(result)
    assert "'public.meetings'" in message
    assert "reload it" in message
    assert app.states() == {}


def test_a_run_that_somebody_stops_is_cancelled_and_not_failed(app: App, dagster: Dagster) -> None:
    app.execute(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE tenant_migration.settings SET emergency_stop = true; RETURN NULL; END $$;"
        "CREATE TRIGGER stop AFTER INSERT ON tenant_migration.table_runs EXECUTE FUNCTION stop()"
    )
    result = dagster.run("migrate_all", ops={"start": {"skip_backup": True}})

    assert not result.success
    [(state, reason)] = app.query("SELECT state, reason FROM tenant_migration.runs")
    assert state == "cancelled"
    assert str(reason).startswith("public.")
    assert "emergency switch" in str(reason)


def test_a_dry_run_changes_nothing_and_turns_nothing_green(app: App, dagster: Dagster) -> None:
    before = app.fingerprint()
    columns = app.query("SELECT table_name, column_name FROM information_schema.columns ORDER BY 1, 2")
    result = dagster.run("migrate_all", ops={"start": {"dry_run": True}})

    assert result.success, failure_messages(result)
    assert app.fingerprint() == before
    assert (
        app.query("SELECT table_name, column_name FROM information_schema.columns ORDER BY 1, 2") == columns
    )
    for ours in ("runs", "table_states", "created_objects", "leases"):
        assert app.query(f"SELECT * FROM tenant_migration.{ours}") == []
    for table in app.plan.tables:
        name = table.table_name
        assert dagster.materialized(name) == set()
        assert dagster.check_results(name, "verification") == {}
        expected = dict(
            app.query(
                f"SELECT tenant_id, count(*) FROM {name} JOIN tenant_org_mappings USING (tenant_id)"
                " GROUP BY 1"
            )
        )
        told = {key: given["rows_to_migrate"] for key, given in dagster.observed(name).items()}
        assert told == {tenant: expected.get(tenant, 0) for tenant in app.tenants}


def test_a_run_without_validation_says_so_on_the_check(app: App, dagster: Dagster) -> None:
    result = dagster.run("migrate_all", ops={"start": {"tables": ["profiles"], "skip_validation": True}})
    assert result.success, failure_messages(result)
    results = dagster.check_results("profiles", "validation")
    assert {passed for passed, _ in results.values()} == {False}
    assert dagster.materialized("profiles") == set(app.tenants)


def hold_lease(app: App, table: str) -> None:
    """Let another run hold a table, as a migration on another machine would."""
    app.execute(
        "WITH run AS (INSERT INTO tenant_migration.runs (kind, actor, tool_version, host, process_id)"
        "             VALUES ('migrate', 'another', '0', 'elsewhere', 1) RETURNING run_id)"
        " INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at)"
        " SELECT gen_random_uuid(), t.table_id, int4range(NULL, NULL), run.run_id, 'the other run',"
        "        now() + interval '1 hour'"
        " FROM run, tenant_migration.managed_tables t WHERE t.table_name = %s",
        table,
    )
