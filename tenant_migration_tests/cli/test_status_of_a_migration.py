"""`status` while something is going on, or went wrong: running tables, structure that waits, sizes."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from tenant_migration_tests.cli.runner import CommandLine

QUOTED_TENANT = "o'brien-shipyard"


def status_json(run: CommandLine) -> dict[str, Any]:
    result = run("status", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def start_run(connection: psycopg.Connection, table: str, *, alive: bool) -> int:
    """Leave what a run leaves that works on a table, or that was killed there."""
    [(run_id,)] = connection.execute(
        "INSERT INTO tenant_migration.runs (kind, state, actor, tool_version, host, process_id)"
        " VALUES ('migrate', 'running', 'alice', '0', 'elsewhere', 1) RETURNING run_id"
    )
    connection.execute(
        "INSERT INTO tenant_migration.table_runs (run_id, table_id, state, reason, actor, rows_expected,"
        " rows_migrated, started_at, last_batch_at)"
        " SELECT %s, table_id, 'running', 'replica lag 12 s', 'alice', 1000, 400,"
        " now() - interval '4 s', now() FROM tenant_migration.managed_tables WHERE table_name = %s",
        [run_id, table],
    )
    connection.execute(
        "INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at)"
        " SELECT gen_random_uuid(), table_id, '(,)', %s, 'alice', now() + %s * interval '1 minute'"
        " FROM tenant_migration.managed_tables WHERE table_name = %s",
        [run_id, 1 if alive else -1, table],
    )
    return int(run_id)


def test_a_running_table_has_state_reason_rate_and_time_left(
    planned: CommandLine, connection: psycopg.Connection
) -> None:
    run_id = start_run(connection, "claims", alive=True)
    [running] = status_json(planned)["running"]
    assert (running["table_name"], running["run_id"], running["state"], running["reason"]) == (
        "claims",
        run_id,
        "running",
        "replica lag 12 s",
    )
    assert (running["rows_migrated"], running["rows_expected"], running["alive"]) == (400, 1000, True)
    assert abs(running["rows_per_second"] - 100) < 1
    assert abs(running["eta_seconds"] - 6) < 0.1
    assert "about 6.0 s left, replica lag 12 s" in planned("status").stdout


def test_a_run_that_was_killed_is_told_by_its_lease(
    planned: CommandLine, connection: psycopg.Connection
) -> None:
    start_run(connection, "claims", alive=False)
    assert status_json(planned)["running"][0]["alive"] is False
    assert "no sign of life" in planned("status").stdout


def test_a_run_that_ended_is_not_shown(planned: CommandLine, connection: psycopg.Connection) -> None:
    run_id = start_run(connection, "claims", alive=False)
    connection.execute(
        "UPDATE tenant_migration.runs SET state = 'failed', finished_at = now() WHERE run_id = %s", [run_id]
    )
    assert status_json(planned)["running"] == []


def test_after_one_tenant_the_rest_of_the_structure_waits_and_is_said(
    allowed: CommandLine, connection: psycopg.Connection
) -> None:
    assert status_json(allowed)["waiting"] == []
    assert allowed("migrate", "--tenant", QUOTED_TENANT).exit_code == 0
    found = status_json(allowed)
    assert any(
        sentence.startswith("profiles: the index on organization_id waits") for sentence in found["waiting"]
    )
    profiles = next(table for table in found["tables"] if table["table_name"] == "profiles")
    [(rows,)] = connection.execute("SELECT count(*) FROM profiles WHERE organization_id IS NOT NULL")
    assert profiles["migrated_rows"] == rows > 0
    assert profiles["pairs"] == {"completed": 1}
    assert profiles["journal_bytes"] > 0
    assert found["journals_bytes"] == sum(table["journal_bytes"] for table in found["tables"])
    assert found["counts"]["completed"] == 1
    assert "Waiting to be built:" in allowed("status", "--detailed").stdout

    assert allowed("migrate").exit_code == 0
    assert status_json(allowed)["waiting"] == []


def test_the_emergency_switch_is_shown(planned: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE tenant_migration.settings SET emergency_stop = true")
    assert "the emergency switch is on" in planned("status").stdout
