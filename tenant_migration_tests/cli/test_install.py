"""`install` and `install --print`."""

from __future__ import annotations

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import render
from tenant_migration_tests.cli.runner import CommandLine


def test_installing_twice_is_fine_and_says_what_is_next(
    run: CommandLine, connection: psycopg.Connection
) -> None:
    for _ in range(2):
        result = run("install")
        assert result.exit_code == 0, result.stderr
        assert f"Installed in database {connection.info.dbname} on " in result.stdout
        assert "`tenant-migration plan`" in result.stdout
    assert connection.execute("SELECT * FROM get_migration_progress()").fetchall()
    logged = connection.execute("SELECT operation, actor, outcome FROM migration_audit_log").fetchall()
    assert logged == [("install", "tester", "completed")] * 2


def test_printing_connects_to_nothing_and_is_the_same_sql() -> None:
    result = CommandLine({"TENANT_MIGRATION_DATABASE_URL": ""})("install", "--print")
    assert result.exit_code == 0
    assert result.stdout == render(MigrationConfig()) + "\n"


def test_without_organizations_nothing_is_installed(run: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE organizations RENAME TO orgs")
    result = run("install")
    assert result.exit_code == 1
    assert "organizations" in result.error
    [(schemas,)] = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant_migration'")
    assert schemas == 0
