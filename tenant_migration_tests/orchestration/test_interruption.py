"""A run that is stopped from outside: the server works on nothing of ours, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from tenant_migration.orchestration.instance import shared_instance
from tenant_migration.orchestration.launch import run_migrate
from tenant_migration_tests.orchestration.conftest import App
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only

REPOSITORY = Path(__file__).parents[2]
WORKER = """
import os, sys, time
from tenant_migration.config import load_config
from tenant_migration.orchestration.launch import run_migrate
def slowly(progress):
    print(progress.table, progress.rows_done, flush=True)
    time.sleep(0.2)
run_migrate(
    os.environ["TENANT_MIGRATION_DATABASE_URL"], load_config(), progress=slowly, skip_backup=len(sys.argv) > 1
)
"""


def start_worker(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        cwd=REPOSITORY,
        env={**os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def backends(app: App) -> int:
    with psycopg.connect(app.url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'tenant_migration%'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_ctrl_c_on_a_terminal_interrupts_no_helper_process_of_dagsters(app: App, tmp_path: Path) -> None:
    """A terminal interrupts everything in front of it; what does not expect it answers with a traceback."""
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=REPOSITORY,
            env={**os.environ},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline()
        os.killpg(worker.pid, signal.SIGINT)
        assert worker.wait(timeout=30) != 0
    assert "watch_orphans" not in errors.read_text()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_run_that_is_stopped_in_its_backup_has_migrated_nothing_and_starts_anew(
    how: signal.Signals, app: App
) -> None:
    before = app.fingerprint()
    worker = start_worker()
    assert worker.stdout is not None
    assert worker.stdout.readline()  # one table is copied
    worker.send_signal(how)
    assert worker.wait(timeout=30) != 0

    assert app.fingerprint() == before
    assert app.query("SELECT FROM tenant_migration.backups WHERE state = 'complete'") == []
    assert app.query("SELECT FROM tenant_migration.runs WHERE kind = 'migrate'") == []
    with shared_instance() as instance:
        [run] = instance.get_runs()
        assert run.status is not dg.DagsterRunStatus.SUCCESS

    outcomes = run_migrate(app.url, app.config)
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert app.query("SELECT count(*) FROM tenant_migration.backups WHERE state = 'complete'") == [(1,)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_run_that_is_stopped_goes_on_where_it_was(how: signal.Signals, app: App) -> None:
    worker = start_worker("skip backup")
    assert worker.stdout is not None
    lines = [worker.stdout.readline() for _ in range(3)]  # three batches are committed
    assert all(lines), worker.wait()
    worker.send_signal(how)
    assert worker.wait(timeout=30) != 0

    deadline = time.monotonic() + 5
    while backends(app) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert backends(app) == 0
    with shared_instance() as instance:
        [run] = instance.get_runs()
        if how is not signal.SIGKILL:  # a killed process cannot say so; run monitoring of the daemon does
            assert run.is_finished
            assert run.status is not dg.DagsterRunStatus.SUCCESS
            assert app.query("SELECT state FROM tenant_migration.runs") == [("cancelled",)]
    assert sum(sum(app.rows_by_tenant(table.table_name).values()) for table in app.plan.tables) > 0
    app.execute("UPDATE tenant_migration.leases SET expires_at = now() - interval '1 second'")

    outcomes = run_migrate(app.url, app.config, skip_backup=True)

    assert {outcome.state for outcome in outcomes} == {"completed"}
    for table in app.plan.tables:
        [[wrong]] = app.query(
            f"SELECT count(*) FROM {table.table_name} t LEFT JOIN tenant_org_mappings m USING (tenant_id)"
            " WHERE t.organization_id IS DISTINCT FROM m.organization_id"
        )
        assert wrong == 0
    assert set(app.states().values()) == {"completed"}
