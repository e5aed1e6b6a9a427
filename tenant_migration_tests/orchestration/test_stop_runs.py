"""What an emergency asks of Dagster: queued and started runs of ours are cancelled, nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from tenant_migration.config import DAGSTER_URL_VARIABLE
from tenant_migration.errors import DatabaseUnavailable
from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.stop_runs import cancel_runs, stop_dagster_runs
from tenant_migration_tests.orchestration.conftest import App

ROOT = Path(__file__).parents[2]
FOREIGN = """
import dagster as dg

@dg.op
def work() -> None: ...

@dg.job
def migrate_all() -> None:
    work()

defs = dg.Definitions(jobs=[migrate_all])
"""


def launch(job: str, *location: str, config: str = "{}") -> None:
    """Put a run into Dagster's queue, as the UI does; no daemon takes it from there."""
    subprocess.run(
        [sys.executable, "-m", "dagster", "job", "launch", *location, "-j", job, "--config-json", config],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )


def ours(job: str) -> None:
    launch(job, "-m", "tenant_migration.orchestration.definitions")


def statuses(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    return sorted((run.job_name, run.status.value) for run in instance.get_runs())


def test_queued_runs_that_write_are_cancelled(app: App, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    plan_file.write(app.plan)
    (tmp_path / "foreign.py").write_text(FOREIGN)
    ours("migrate_all")
    ours("verify_all")
    launch("migrate_all", "-f", str(tmp_path / "foreign.py"))
    assert {status for _, status in statuses(instance)} == {"QUEUED"}
    [line] = stop_dagster_runs()
    assert "migrate_all" in line
    assert "queued" in line
    assert statuses(instance) == [
        ("migrate_all", "CANCELED"),
        ("migrate_all", "QUEUED"),
        ("verify_all", "QUEUED"),
    ]
    assert stop_dagster_runs() == []


def test_backfills_of_our_assets_launch_nothing_more(app: App, instance: dg.DagsterInstance) -> None:
    plan_file.write(app.plan)
    for name, key in (("ours", table_key(app.plan.tables[0])), ("theirs", dg.AssetKey("theirs"))):
        instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=BulkActionStatus.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=time.time(),
                asset_selection=[key],
            )
        )
    assert cancel_runs(instance) == ["cancelled backfill ours"]
    found = {backfill.backfill_id: backfill.status for backfill in instance.get_backfills()}
    assert found == {"ours": BulkActionStatus.CANCELING, "theirs": BulkActionStatus.REQUESTED}


@pytest.fixture
def migrating(app: App, instance: dg.DagsterInstance) -> Iterator[subprocess.Popen[str]]:
    """A migration of the command line in a process of its own, which waits for a lock."""
    with psycopg.connect(app.url) as application:
        application.execute("SELECT FROM certification_applications")
        process = subprocess.Popen(
            [sys.executable, "-m", "tenant_migration.cli", "migrate", "--skip-backup"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 90
            while not app.query("SELECT token FROM tenant_migration.leases"):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.communicate()


def test_a_started_run_whose_process_is_frozen_is_marked(
    migrating: subprocess.Popen[str], instance: dg.DagsterInstance
) -> None:
    assert statuses(instance) == [("migrate_all", "STARTED")]
    os.kill(migrating.pid, signal.SIGSTOP)
    [line] = cancel_runs(instance)
    assert "its process does not answer" in line
    assert statuses(instance) == [("migrate_all", "CANCELED")]


def test_a_started_run_that_ends_by_itself_is_waited_for(
    app: App, migrating: subprocess.Popen[str], instance: dg.DagsterInstance
) -> None:
    app.execute("UPDATE tenant_migration.settings SET emergency_stop = true")
    app.execute("UPDATE tenant_migration.runs SET state = 'cancelled'")
    app.execute("SELECT pg_terminate_backend(backend_pid) FROM tenant_migration.leases")
    [line] = cancel_runs(instance)
    assert line.endswith("ended")
    assert statuses(instance)[0][1] in {"FAILURE", "CANCELED"}
    assert migrating.wait(timeout=30) == 1


def test_the_run_that_asks_goes_on(migrating: subprocess.Popen[str], instance: dg.DagsterInstance) -> None:
    [run] = instance.get_runs()
    assert cancel_runs(instance, but=run.run_id) == []
    assert statuses(instance) == [("migrate_all", "STARTED")]


def test_a_storage_that_is_down_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(DatabaseUnavailable):
        stop_dagster_runs()


def test_where_dagster_was_never_used_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none"))
    monkeypatch.delenv(DAGSTER_URL_VARIABLE, raising=False)
    assert stop_dagster_runs() == ["Dagster was never used here"]
    assert not (tmp_path / "none").exists()
