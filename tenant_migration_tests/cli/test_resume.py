"""`resume`: releases the emergency switch and says who had set it."""

from __future__ import annotations

import psycopg

from tenant_migration_tests.cli.runner import CommandLine


def press(connection: psycopg.Connection) -> None:
    connection.execute(
        "UPDATE tenant_migration.settings SET emergency_stop = true, emergency_stopped_by = 'anna',"
        " emergency_stopped_at = '2026-03-01 12:00:00+00', emergency_reason = 'wrong mappings'"
    )


def test_nothing_was_set(installed: CommandLine) -> None:
    result = installed("resume")
    assert (result.exit_code, result.stdout) == (
        0,
        "Nothing to resume: the emergency switch is not set.\n",
    )


def test_it_says_who_had_set_it_and_lets_migrations_start(
    allowed: CommandLine, connection: psycopg.Connection
) -> None:
    press(connection)
    refused = allowed("migrate", "--skip-backup")
    assert refused.exit_code == 1
    assert "the emergency switch is set, by anna at 2026-03-01" in refused.error
    assert "`tenant-migration resume` releases it" in refused.error
    assert allowed("migrate", "--dry-run").exit_code == 1
    result = allowed("resume")
    assert result.exit_code == 0
    assert "it was set by anna at 2026-03-01" in result.stdout
    assert "(wrong mappings)" in result.stdout
    assert result.stdout.endswith("Migrations may start again.\n")
    assert allowed("migrate", "--skip-backup").exit_code == 0
    assert connection.execute(
        "SELECT actor, outcome FROM migration_audit_log WHERE operation = 'resume'"
    ).fetchall() == [("tester", "completed")]


def test_it_waits_for_a_rollback_that_still_works(
    planned: CommandLine, connection: psycopg.Connection
) -> None:
    press(connection)
    connection.execute(
        "WITH run AS (INSERT INTO tenant_migration.runs (kind, state, actor, tool_version, host, process_id)"
        " VALUES ('rollback', 'rolling_back', 'anna', '0', 'here', 1) RETURNING run_id)"
        " INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at)"
        " SELECT gen_random_uuid(), table_id, '(,)', run_id, 'anna', now() + interval '1 min'"
        " FROM run, tenant_migration.managed_tables LIMIT 1"
    )
    result = planned("resume")
    assert result.exit_code == 1
    assert "run 1 (rollback of all tables; anna on here, process 1) still works" in result.error
    assert connection.execute("SELECT emergency_stop FROM tenant_migration.settings").fetchone() == (True,)
    connection.execute("UPDATE tenant_migration.leases SET expires_at = now()")
    result = planned("resume")
    assert result.exit_code == 0
    assert "Ended: run 1" in result.stdout
