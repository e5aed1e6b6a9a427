"""`backup` through Dagster on real databases."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tenant_migration.quickstart.sample import SampleSummary
from tenant_migration_tests.cli.runner import CommandLine, Result

QUOTED_TENANT = "o'brien-shipyard"
UNREACHABLE = {"TENANT_MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}


def backup_number(result: Result) -> int:
    assert result.exit_code == 0, result.stderr
    return int(result.stdout.partition("Backup ")[2].partition("✅ Backup ")[2].split()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --create, --list, --cleanup, --hold, --release"),
        (["--create", "--list"], "give one of"),
        (["--cleanup", "--list"], "give one of"),
        (["--cleanup", "14", "--hold", "1"], "give one of"),
        (["--list", "--tenant", "a"], "go with --create"),
        (["--cleanup", "--table", "a"], "go with --create"),
        (["--hold", "1", "--directory", "x"], "go with --create"),
        (["--cleanup", "-1"], "-1"),
        (["--cleanup", "soon"], "--cleanup"),
        (["--cleanup", "1.5"], "--cleanup"),
        (["--cleanup", "99999999"], "--cleanup"),
        (["--hold"], "--hold"),
        (["--hold", "0"], "--hold"),
        (["--release", "x"], "--release"),
    ],
)
def test_a_contradiction_is_a_usage_error_before_any_database_is_asked(
    arguments: list[str], message: str
) -> None:
    result = CommandLine(UNREACHABLE)("backup", *arguments)
    assert result.exit_code == 2
    assert message in result.error
    assert result.stdout == ""


def test_a_backup_of_everything_is_made_listed_held_and_kept(
    dagster: CommandLine, summary: SampleSummary, connection: psycopg.Connection
) -> None:
    assert "There is no backup" in dagster("backup", "--list").stdout
    made = dagster("backup", "--create")
    number = backup_number(made)
    assert f"8 tables, {summary.rows:,} rows, " in made.stdout
    assert "Space: " in made.stdout

    listed = dagster("backup", "--list")
    assert listed.exit_code == 0
    assert f"{summary.rows:,}" in listed.stdout
    assert "verified" in listed.stdout
    assert "1 backup, complete and verified, " in listed.stdout

    assert dagster("backup", "--hold", str(number)).exit_code == 0
    assert "tester" in dagster("backup", "--list").stdout
    again = dagster("backup", "--hold", str(number), TENANT_MIGRATION_ACTOR="another")
    assert f"Backup {number} is held by tester, who asked first: " in again.stdout
    kept = dagster("backup", "--cleanup", "0")
    assert kept.exit_code == 0, kept.stderr
    assert f"Kept backup {number}: " in kept.stdout
    assert "0 backups dropped, 1 kept" in kept.stdout

    unheld = f"Backup {number} was not held by anybody: nothing to release.\n"
    assert dagster("backup", "--release", str(number)).stdout != unheld
    assert dagster("backup", "--release", str(number)).stdout == unheld
    dropped = dagster("backup", "--cleanup", "0")
    assert dropped.exit_code == 0, dropped.stderr
    assert f"Dropped backup {number}: {summary.rows:,} rows" in dropped.stdout
    assert connection.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
        " AND relname ~ '^backup_[0-9]'"
    ).fetchall() == [(0,)]


def test_the_listing_judges_by_the_configured_days(dagster: CommandLine, tmp_path: Path) -> None:
    number = backup_number(dagster("backup", "--create", "--table", "strike_votes"))
    config = tmp_path / "thirty.yaml"
    config.write_text("backups: {retention_days: 30}\n", encoding="utf-8")
    listed = dagster("backup", "--list", "--config", str(config))
    assert listed.exit_code == 0, listed.stderr
    assert "younger than 30 days" in listed.stdout
    assert f"Kept backup {number}: younger than 7 days" in dagster("backup", "--cleanup").stdout


@pytest.mark.parametrize("arguments", [["--cleanup"], ["--cleanup", "14"], ["--cleanup=14"]])
def test_a_plain_cleanup_and_one_with_days_keep_what_is_young(
    dagster: CommandLine, arguments: list[str]
) -> None:
    number = backup_number(dagster("backup", "--create", "--table", "strike_votes"))
    result = dagster("backup", *arguments)
    assert result.exit_code == 0, result.stderr
    days = "14" if "14" in arguments[-1] else "7"
    assert f"Kept backup {number}: " in result.stdout
    assert days in result.stdout.partition(f"Kept backup {number}: ")[2].splitlines()[0]


def test_one_tenant_of_one_table_also_as_files(
    dagster: CommandLine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    [(rows,)] = connection.execute("SELECT count(*) FROM claims WHERE tenant_id = %s", [QUOTED_TENANT])
    made = dagster(
        "backup",
        "--create",
        "--tenant",
        QUOTED_TENANT,
        "--table",
        "claims",
        "--directory",
        str(tmp_path / "out"),
    )
    backup_number(made)
    assert f"1 table, {rows:,} rows, " in made.stdout
    assert f"tenants: {QUOTED_TENANT}" in made.stdout
    assert len(list((tmp_path / "out").rglob("manifest.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--create", "--tenant", "o'brien-shipyart"], "did you mean"),
        (["--create", "--table", "claimz"], "did you mean 'claims'?"),
        (["--hold", "999"], "999"),
        (["--release", "999"], "999"),
    ],
)
def test_what_is_not_known_is_named(dagster: CommandLine, arguments: list[str], message: str) -> None:
    result = dagster("backup", *arguments)
    assert result.exit_code == 1
    assert message in result.error
    assert "There is no backup" in dagster("backup", "--list").stdout


def test_a_backup_that_has_no_room_is_refused_with_the_numbers(dagster: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "migration.yaml").write_text("backups: {max_bytes: 1000}\n")
    result = dagster("backup", "--create")
    assert result.exit_code == 1
    assert "backups.max_bytes" in result.error
    refused = dagster("migrate", "--tenant", QUOTED_TENANT)
    assert refused.exit_code == 1
    assert "backups.max_bytes" in refused.error
    assert "There is no backup" in dagster("backup", "--list").stdout


def test_migrate_takes_a_backup_first_or_says_which_one_covers_it(
    dagster: CommandLine, connection: psycopg.Connection
) -> None:
    first = dagster("migrate", "--tenant", QUOTED_TENANT)
    assert first.exit_code == 0, first.stderr
    assert "Backup 1 is taken: " in first.stdout
    assert "space: " in first.stdout
    assert dagster("rollback", "--tenant", QUOTED_TENANT, "--yes").exit_code == 0

    number = backup_number(dagster("backup", "--create", "--tenant", QUOTED_TENANT))
    second = dagster("migrate", "--tenant", QUOTED_TENANT)
    assert second.exit_code == 0, second.stderr
    assert f"Backup {number} covers this: " in second.stdout

    again = dagster("migrate", "--tenant", QUOTED_TENANT)
    assert again.exit_code == 0, again.stderr
    assert "No backup is taken: everything in scope is migrated" in again.stdout

    assert dagster("rollback", "--tenant", QUOTED_TENANT, "--yes").exit_code == 0
    skipped = dagster("migrate", "--tenant", QUOTED_TENANT, "--skip-backup")
    assert skipped.exit_code == 0, skipped.stderr
    assert "Backup" not in skipped.stdout
    [(backups,)] = connection.execute("SELECT count(*) FROM tenant_migration.backups")
    assert backups == 2
