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


def test_the_check_of_the_mappings_runs_on_its_own(
    app: App,
    dagster: Dagster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    selection = dg.AssetSelection.checks(*dagster.definitions.asset_checks)
    job = dg.define_asset_job("only_checks", selection=selection)
    definitions = dg.Definitions.merge(dagster.definitions, dg.Definitions(jobs=[job]))

    def run() -> list[dg.AssetCheckEvaluation]:
        done = definitions.resolve_job_def("only_checks").execute_in_process(
            instance=dagster.instance, run_config=QUIET
        )
        return list(done.get_asset_check_evaluations())

    assert [evaluation.passed for evaluation in run()] == [True]
    write_config(tmp_path, monkeypatch, [])
    [evaluation] = run()
    assert not evaluation.passed
    assert UNMAPPED_TENANT in (evaluation.description or "")


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


def test_verify_fails_the_tenant_whose_row_was_changed_and_no_other(app: App, dagster: Dagster) -> None:
    assert dagster.run("migrate_all").success
    assert dagster.run("verify_all").success  # the healthy database passes
    spoilt = app.tenants[2]
    app.execute(
        "UPDATE precedents SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings WHERE tenant_id <> %s LIMIT 1)"
        " WHERE id = (SELECT id FROM precedents WHERE tenant_id = %s LIMIT 1)",
        spoilt,
        spoilt,
    )
    result = dagster.run("verify_all")

    assert not result.success
    assert "verification failed" in failure_messages(result)[0]
    expected = dict.fromkeys(app.tenants, (True, True)) | {spoilt: (False, True)}
    assert dagster.check_results("precedents", "verification") == expected
    assert dagster.check_results("claims", "verification") == dict.fromkeys(app.tenants, (True, True))
    assert not dagster.run("verify", tenant=spoilt).success
    assert dagster.run("verify", tenant=app.tenants[0]).success


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
