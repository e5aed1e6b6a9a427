"""The jobs that only look: validate, verify, dry_run, discover, and the check of the mappings."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.build import build_definitions
from tenant_migration.quickstart.sample import UNMAPPED_TENANT
from tenant_migration_tests.orchestration.conftest import (
    QUIET,
    App,
    Dagster,
    failure_messages,
    write_config,
)
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


def test_validate_all_reports_on_every_partition_and_writes_no_row(app: App, dagster: Dagster) -> None:
    before = app.fingerprint()
    result = dagster.run("validate_all")

    assert result.success, failure_messages(result)
    for table in app.plan.tables:
        results = dagster.check_results(table.table_name, "validation")
        assert {partition: passed for partition, (passed, _) in results.items()} == dict.fromkeys(
            app.tenants, True
        )
        assert dagster.materialized(table.table_name) == set()
    assert dagster.check_results("tenant_org_mappings", "mapping_complete") == {"None": (True, True)}
    assert app.fingerprint() == before


def test_validate_fails_for_a_tenant_without_mapping(
    app: App, dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dagster.run("validate_all").success  # the healthy database passes
    write_config(tmp_path, monkeypatch, [])
    result = dagster.run("validate_all")

    assert not result.success
    assert dagster.check_results("tenant_org_mappings", "mapping_complete") == {"None": (False, True)}
    [(status,)] = app.query("SELECT status FROM tenant_migration.reports ORDER BY report_id DESC LIMIT 1")
    assert status == "fail"


def test_the_checks_on_the_mappings_run_on_their_own(
    app: App,
    dagster: Dagster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    selection = dg.AssetSelection.checks(*dagster.definitions.asset_checks)
    job = dg.define_asset_job("only_checks", selection=selection)
    definitions = dg.Definitions.merge(dagster.definitions, dg.Definitions(jobs=[job]))

    def run() -> dict[str, dg.AssetCheckEvaluation]:
        done = definitions.resolve_job_def("only_checks").execute_in_process(
            instance=dagster.instance, run_config=QUIET
        )
        return {evaluation.check_name: evaluation for evaluation in done.get_asset_check_evaluations()}

    names = {"mapping_complete", "validation", "verification"}
    assert {name: evaluation.passed for name, evaluation in run().items()} == dict.fromkeys(names, True)
    write_config(tmp_path, monkeypatch, [])
    unmapped = run()
    assert {name for name, evaluation in unmapped.items() if not evaluation.passed} == {"mapping_complete"}
    assert UNMAPPED_TENANT in (unmapped["mapping_complete"].description or "")
    turn_the_hierarchy_into_a_circle(app)
    circle = run()
    assert not circle["validation"].passed
    assert not circle["verification"].passed
    assert "circular" in (circle["validation"].description or "").lower()


def turn_the_hierarchy_into_a_circle(app: App) -> None:
    app.execute(
        "UPDATE organizations SET parent_id = (SELECT id FROM organizations WHERE parent_id = o.id LIMIT 1)"
        " FROM organizations o WHERE o.parent_id IS NULL AND organizations.id = o.id"
    )


def test_validate_for_one_tenant_reports_on_its_partition_alone(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    result = dagster.run("validate", tenant=tenant, ops={"run_validate": {"tables": ["claims"]}})
    assert result.success, failure_messages(result)
    assert set(dagster.check_results("claims", "validation")) == {tenant}
    assert dagster.check_results("profiles", "validation") == {}


def test_verify_says_nothing_about_pending_pairs(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    assert dagster.run("migrate", tenant=tenant, tables=["profiles"]).success
    result = dagster.run("verify_all")

    assert result.success, failure_messages(result)
    assert dagster.check_results("profiles", "verification") == {tenant: (True, True)}
    assert dagster.check_results("claims", "verification") == {}


def test_verify_fails_the_tenant_whose_row_was_changed_and_no_other(app: App, migrated: Dagster) -> None:
    assert migrated.run("verify_all").success  # the healthy database passes
    spoilt = app.tenants[2]
    app.execute(
        "UPDATE precedents SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings WHERE tenant_id <> %s LIMIT 1)"
        " WHERE id = (SELECT id FROM precedents WHERE tenant_id = %s LIMIT 1)",
        spoilt,
        spoilt,
    )
    result = migrated.run("verify_all")

    assert not result.success
    assert "verification failed" in failure_messages(result)[0]
    expected = dict.fromkeys(app.tenants, (True, True)) | {spoilt: (False, True)}
    assert migrated.check_results("precedents", "verification") == expected
    assert migrated.check_results("claims", "verification") == dict.fromkeys(app.tenants, (True, True))
    assert not migrated.run("verify", tenant=spoilt).success
    assert migrated.run("verify", tenant=app.tenants[0]).success


MOVED = (
    "UPDATE precedents SET tenant_id = %s"
    " WHERE id = (SELECT id FROM precedents WHERE tenant_id = %s ORDER BY id LIMIT 1)"
)


def test_the_nightly_verification_notices_a_row_that_changed_tenant(app: App, migrated: Dagster) -> None:
    schedule = migrated.definitions.get_repository_def().get_schedule_def("verification_nightly")
    assert migrated.run(schedule.job_name).success  # the healthy database passes
    came_from, came_to = app.tenants[-2:]
    app.execute(MOVED, came_to, came_from)

    assert not migrated.run(schedule.job_name).success

    results = migrated.check_results("precedents", "verification")
    assert results[came_to] == (False, True)
    untouched = {tenant: result for tenant, result in results.items() if tenant not in (came_from, came_to)}
    assert set(untouched.values()) == {(True, True)}
    assert set(app.states().values()) == {"completed"}, "a verification changes no state"
    shown = migrated.evaluation("precedents", "verification", came_to)
    assert "organization_matches_mapping" in str(shown["results"])
    assert "```sql" in str(shown["reproduce"])


def test_a_row_that_went_to_another_tenant_with_its_organization_shows_where_it_came_from(
    app: App, dagster: Dagster
) -> None:
    assert dagster.run("migrate_all", ops={"start": {"skip_backup": True}}).success
    came_from, came_to = app.tenants[-2:]
    app.execute(MOVED, came_to, came_from)
    app.execute(
        "UPDATE precedents p SET organization_id = m.organization_id FROM tenant_org_mappings m"
        " WHERE m.tenant_id = p.tenant_id AND p.organization_id <> m.organization_id"
    )
    result = dagster.run("verify_all")
    assert result.success, failure_messages(result)  # the rows are consistent: a warning
    expected = dict.fromkeys(app.tenants, (True, True)) | {came_from: (False, True)}
    assert dagster.check_results("precedents", "verification") == expected
    assert "rows_stay_in_tenant" in str(
        dagster.evaluation("precedents", "verification", came_from)["results"]
    )


def test_a_partition_shows_its_own_counts_and_no_keys_of_others(app: App, migrated: Dagster) -> None:
    one, other, third = app.tenants[-3:]
    keys = {
        tenant: app.query(
            "UPDATE precedents SET organization_id = (SELECT organization_id FROM tenant_org_mappings"
            " WHERE tenant_id = %s) WHERE id IN (SELECT id FROM precedents WHERE tenant_id = %s"
            " ORDER BY id LIMIT %s) RETURNING id",
            third,
            tenant,
            count,
        )
        for tenant, count in ((one, 1), (other, 2))
    }
    assert not migrated.run("verify_all").success
    for tenant, count in ((one, 1), (other, 2)):
        shown = migrated.evaluation("precedents", "verification", tenant)
        assert "organization_matches_mapping | public.precedents | failed | critical | " in str(
            shown["results"]
        )
        assert shown["findings"] >= count
        for [(key,), *_] in keys.values():
            assert str(key) not in str(shown["results"])
    passed = migrated.evaluation("precedents", "verification", third)
    assert passed["failed"] == 0
    assert "| organization_matches_mapping | public.precedents | passed |" in str(passed["results"])

    assert not migrated.run("verify", tenant=one).success
    [(key,)] = keys[one]
    assert str(key) in str(migrated.evaluation("precedents", "verification", one)["results"])


def test_runs_over_very_many_tenants_store_the_checks_in_short(
    app: App, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant_migration.orchestration.reports.IN_FULL_MOST", len(app.tenants) - 1)
    assert dagster.run("validate_all").success
    shown = dagster.evaluation("claims", "validation", app.tenants[0])
    passed = [line for line in str(shown["results"]).splitlines() if line.startswith("| passed |")]
    assert len(passed) == 1
    assert "null_tenant_keys" in str(shown["results"])
    assert shown["checks"] > 5


def test_what_looks_at_the_whole_database_shows_on_the_mappings(app: App, dagster: Dagster) -> None:
    assert dagster.run("validate_all").success
    assert dagster.run("verify_all").success
    for check in ("validation", "verification"):
        assert dagster.check_results("tenant_org_mappings", check) == {"None": (True, True)}
    turn_the_hierarchy_into_a_circle(app)
    tenant = app.tenants[0]
    for job in ("validate", "verify"):
        dagster.run(job, tenant=tenant)  # one tenant's verdict does not stand for all
    assert dagster.check_results("tenant_org_mappings", "validation") == {"None": (True, True)}
    for job in ("validate_all", "verify_all"):
        assert not dagster.run(job).success
    for check in ("validation", "verification"):
        assert dagster.check_results("tenant_org_mappings", check) == {"None": (False, True)}


def test_a_refused_migration_shows_on_the_mappings_why(app: App, dagster: Dagster) -> None:
    turn_the_hierarchy_into_a_circle(app)
    assert not dagster.run("migrate_all").success
    assert dagster.check_results("tenant_org_mappings", "validation") == {"None": (False, True)}
    assert dagster.check_results("tenant_org_mappings", "mapping_complete") == {"None": (True, True)}


def test_a_dry_run_for_one_tenant_observes_it(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[-1]
    before = app.fingerprint()
    result = dagster.run("dry_run", tenant=tenant)

    assert result.success, failure_messages(result)
    for table in app.plan.tables:
        [[rows]] = app.query(f"SELECT count(*) FROM {table.table_name} WHERE tenant_id = %s", tenant)
        observed = dagster.observed(table.table_name)
        assert {key: given["rows_to_migrate"] for key, given in observed.items()} == {tenant: rows}
        assert dagster.materialized(table.table_name) == set()
    assert app.fingerprint() == before
    assert app.query("SELECT * FROM tenant_migration.runs") == []


def test_discover_stores_the_plan_and_writes_its_file(app: App, instance: dg.DagsterInstance) -> None:
    app.execute("CREATE TABLE meetings (id bigint PRIMARY KEY, tenant_id text)")
    assert plan_file.read() is None
    job = build_definitions(None).resolve_job_def("discover")
    result = job.execute_in_process(instance=instance, run_config=QUIET)

    assert result.success
    plan = plan_file.read()
    assert plan is not None
    assert {table.table_name for table in plan.tables} == {
        "meetings",
        *(table.table_name for table in app.plan.tables),
    }
    assert set(instance.get_dynamic_partitions("tenants")) == set(app.tenants)
    names = app.query("SELECT table_name FROM tenant_migration.managed_tables WHERE retired_at IS NULL")
    assert ("meetings",) in names


def test_discover_without_the_schema_says_what_to_do(
    app: App, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    app.execute("DROP SCHEMA tenant_migration CASCADE")
    job = build_definitions(None).resolve_job_def("discover")
    result = job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
    assert not result.success
    assert "run `tenant-migration install`" in failure_messages(result)[0]
    assert plan_file.read() is None
