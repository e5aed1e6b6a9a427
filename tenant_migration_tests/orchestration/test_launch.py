"""The command line's way in: the same jobs, in its own process, with progress and results handed back."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from tenant_migration.backfill.results import Progress
from tenant_migration.config import DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE
from tenant_migration.errors import DatabaseUnavailable, OperationFailed, Refused, UnknownTable, UnknownTenant
from tenant_migration.orchestration import listeners, plan_file
from tenant_migration.orchestration.instance import shared_instance
from tenant_migration.orchestration.launch import run_migrate, run_validate, run_verify
from tenant_migration.orchestration.record import Recorder
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration_tests.orchestration.conftest import App
from tenant_migration_tests.orchestration.test_migrate_all import hold_lease
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


@pytest.fixture
def cli(app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    """The command line has the URL as an argument; its environment may name none."""
    monkeypatch.delenv(DATABASE_URL_VARIABLE)
    return app


def runs() -> list[dg.DagsterRun]:
    with shared_instance() as instance:
        return list(instance.get_runs())


def test_migrate_gives_outcomes_and_progress_and_leaves_a_run(cli: App) -> None:
    heard: list[Progress] = []
    outcomes = run_migrate(cli.url, cli.config, progress=heard.append)

    assert [outcome.table for outcome in outcomes] == [table.qualified_name for table in cli.plan.tables]
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert set(cli.states().values()) == {"completed"}
    by_table = {progress.table: progress.rows_done for progress in heard}
    assert by_table == {
        outcome.table: outcome.result.rows_migrated for outcome in outcomes if outcome.result is not None
    }
    [run] = runs()
    assert (run.job_name, run.status) == ("migrate_all", dg.DagsterRunStatus.SUCCESS)
    written = plan_file.read()
    assert written is not None
    assert [table.table_hash for table in written.tables] == [table.table_hash for table in cli.plan.tables]


def test_the_run_shows_on_the_assets_of_the_shared_instance(cli: App) -> None:
    run_migrate(cli.url, cli.config, tables=["profiles"], tenants=[cli.tenants[0]])
    with shared_instance() as instance:
        key = dg.AssetKey(["public", "profiles"])
        assert instance.get_materialized_partitions(key) == {cli.tenants[0]}
        assert set(instance.get_dynamic_partitions("tenants")) == set(cli.tenants)


def test_a_failed_table_is_an_outcome_and_not_an_exception(cli: App) -> None:
    hold_lease(cli, "claims")
    outcomes = {outcome.table: outcome for outcome in run_migrate(cli.url, cli.config)}
    assert outcomes["public.claims"].state == "failed"
    assert outcomes["public.documents"].state == "blocked"
    assert outcomes["public.profiles"].state == "completed"
    [run] = runs()
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_what_was_refused_is_raised_as_itself(cli: App) -> None:
    with pytest.raises(UnknownTable, match="did you mean 'claims'"):
        run_migrate(cli.url, cli.config, tables=["claimz"])
    with pytest.raises(UnknownTenant, match="nosuch"):
        run_migrate(cli.url, cli.config, tenants=["nosuch"])
    with pytest.raises(Refused, match="parents are pending"):
        run_migrate(cli.url, cli.config, tables=["documents"])
    assert cli.states() == {}
    assert {run.status for run in runs()} == {dg.DagsterRunStatus.FAILURE}


def test_an_unforeseen_error_is_never_a_success(cli: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Recorder, outcome: TableOutcome) -> None:
        raise ZeroDivisionError("a mistake of ours in the last table")

    monkeypatch.setattr(Recorder, "outcome", broken)
    with pytest.raises(OperationFailed, match="a mistake of ours"):
        run_migrate(cli.url, cli.config, tables=["profiles"])
    assert cli.query("SELECT state FROM tenant_migration.runs WHERE kind = 'migrate'") == [("failed",)]


def test_validate_and_verify_give_their_reports_also_when_they_fail(cli: App) -> None:
    assert run_validate(cli.url, cli.config)["status"] != "fail"
    run_migrate(cli.url, cli.config, tables=["profiles"])
    assert run_verify(cli.url, cli.config)["status"] == "warning"  # the other tables are pending
    cli.execute("UPDATE profiles SET organization_id = NULL WHERE id = (SELECT id FROM profiles LIMIT 1)")
    report = run_verify(cli.url, cli.config)
    assert report["status"] == "fail"
    assert report["criticalIssues"] > 0


def test_afterwards_nothing_listens_and_the_environment_is_as_before(
    cli: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_validate(cli.url, cli.config, tables=["profiles"])
    assert listeners._listeners == {}
    assert DATABASE_URL_VARIABLE not in os.environ
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "postgresql://elsewhere/db")
    run_validate(cli.url, cli.config, tables=["profiles"])
    assert os.environ[DATABASE_URL_VARIABLE] == "postgresql://elsewhere/db"


def test_with_dagsters_storage_down_nothing_starts(cli: App, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cli.fingerprint()
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql://dagster:sentinel@127.0.0.1:1/dagster")
    with pytest.raises(DatabaseUnavailable) as refusal:
        run_migrate(cli.url, cli.config)
    message = str(refusal.value)
    assert "127.0.0.1, port 1, database dagster" in message
    assert DAGSTER_URL_VARIABLE in message
    assert "sentinel" not in message
    assert cli.fingerprint() == before
    assert cli.states() == {}


def test_dagsters_storage_in_the_migrated_database_is_refused(
    cli: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = f"{cli.url}&application_name=dagster"
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, same)
    with pytest.raises(Refused, match="are the same"):
        run_migrate(cli.url, cli.config)
    assert cli.query("SELECT FROM information_schema.tables WHERE table_name = 'event_logs'") == []
