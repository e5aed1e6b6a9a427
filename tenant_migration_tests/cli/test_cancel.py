"""`cancel`: a migration in another process ends, and what is done stays."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tenant_migration_tests.cli.runner import CommandLine


@contextmanager
def migrating(run: CommandLine, connection: psycopg.Connection) -> Iterator[subprocess.Popen[str]]:
    """Migrate in a process of its own, slowed down, and wait until it works."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant_migration.cli", "migrate", "--skip-backup"],
        env=run.process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not connection.execute("SELECT FROM tenant_migration.leases").fetchall():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_nothing_runs(planned: CommandLine) -> None:
    result = planned("cancel")
    assert (result.exit_code, result.stdout) == (0, "Nothing to cancel: no run is going.\n")


def test_a_migration_in_another_process(
    allowed: CommandLine, sample: str, connection: psycopg.Connection
) -> None:
    with psycopg.connect(sample) as application:
        application.execute("SELECT FROM profiles")  # its lock keeps the column from being added
        _cancel_in_full_run(allowed, connection)
    assert allowed("migrate", "--skip-backup").exit_code == 0


def _cancel_in_full_run(allowed: CommandLine, connection: psycopg.Connection) -> None:
    with migrating(allowed, connection) as process:
        result = allowed("cancel")
        output, errors = process.communicate(timeout=60)
    assert result.exit_code == 0
    assert "Cancelled: run 1 (migrate of 8 tables; tester on" in result.stdout
    assert "Stopped after" in result.stdout
    assert process.returncode == 1
    assert "cancelled" in errors, output
    assert connection.execute("SELECT state, actor FROM tenant_migration.runs").fetchall() == [
        ("cancelled", "tester")
    ]
    assert connection.execute(
        "SELECT outcome FROM migration_audit_log WHERE operation = 'cancel'"
    ).fetchall() == [("completed",)]


def test_a_table_that_nobody_knows(planned: CommandLine) -> None:
    result = planned("cancel", "--table", "claimz")
    assert result.exit_code == 1
    assert "did you mean 'public.claims'" in result.error


def test_a_table_that_no_run_has(planned: CommandLine) -> None:
    result = planned("cancel", "--table", "claims")
    assert (result.exit_code, result.stdout) == (
        0,
        "Nothing to cancel: no run is going with these tables.\n",
    )


def test_without_the_tool(run: CommandLine) -> None:
    result = run("cancel")
    assert result.exit_code == 1
    assert "run `tenant-migration install`" in result.error
