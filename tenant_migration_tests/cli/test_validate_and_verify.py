"""`validate` and `verify`: what they print, export, and say by their exit code."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tenant_migration.quickstart.sample import UNMAPPED_TENANT
from tenant_migration_tests.cli.runner import CommandLine


def test_an_unmapped_tenant_fails_the_validation_until_it_is_allowed(
    dagster: CommandLine, tmp_path: Path
) -> None:
    result = dagster("validate", "--export", "before.json")
    assert result.exit_code == 1
    assert UNMAPPED_TENANT in result.stdout
    assert "❌ Validation FAILED - Fix issues before migrating" in result.stdout
    assert "critical issues in the pre-migration checks" in result.error
    report = json.loads((tmp_path / "before.json").read_text())
    assert (report["phase"], report["status"]) == ("pre-migration", "fail")

    allow_unmapped(tmp_path)
    result = dagster("validate", "--export", "before.json")
    assert result.exit_code == 0, result.stderr
    assert (
        "Validation PASSED with warnings" in result.stdout
    )  # the sample's orphans and rows without a tenant
    assert json.loads((tmp_path / "before.json").read_text())["status"] == "warning"


def test_the_report_is_written_as_its_suffix_says_and_shows_what_a_person_looks_for(
    dagster: CommandLine, tmp_path: Path
) -> None:
    assert dagster("validate", "--export", "before.html").exit_code == 1
    page = (tmp_path / "before.html").read_text()
    assert f"1 tenant without a mapping</b>: <bdi><code>{UNMAPPED_TENANT}</code>" in page
    assert "<code>o&#x27;brien-shipyard</code></bdi> (has a quote)" in page
    assert "rows without a tenant (NULL)</b>: public." in page
    assert dagster("validate", "--export", "before.CSV", "--table", "claims").exit_code == 0
    lines = (tmp_path / "before.CSV").read_text().splitlines()
    assert lines[0].startswith('"timestamp","phase","status","check"')
    assert any(',"orphans","public.claims","user_id",' in line for line in lines)


def test_some_tenants_and_tables_are_checked_alone(dagster: CommandLine, tmp_path: Path) -> None:
    result = dagster(
        "validate", "--tenant", "o'brien-shipyard", "--table", "profiles", "--export", "one.json"
    )
    assert result.exit_code == 0, result.stderr  # the tenant without a mapping is another one
    report = json.loads((tmp_path / "one.json").read_text())
    assert {check["table"] for check in report["checks"]} == {None, "public.profiles"}
    assert [row["tenant"] for row in report["byTenant"]["rows"]] == ["o'brien-shipyard"]
    assert dagster("validate", "--tenant", "nobody").exit_code == 1
    assert dagster("verify", "--table", "nothing").exit_code == 1
    assert dagster("verify", "--tenant", "o'brien-shipyard").exit_code == 0


def test_verify_pre_is_validate(dagster: CommandLine) -> None:
    assert dagster("verify", "--pre").exit_code == 1


def test_before_a_migration_verify_says_that_everything_is_pending(
    dagster: CommandLine, tmp_path: Path
) -> None:
    result = dagster("verify", "--post", "--export", "after.json")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "after.json").read_text())
    assert (report["phase"], report["status"], report["criticalIssues"]) == ("post-migration", "warning", 0)


def test_a_row_that_is_wrong_after_the_migration_fails_the_verification(
    dagster: CommandLine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    allow_unmapped(tmp_path)
    assert dagster("migrate").exit_code == 0
    result = dagster("verify")
    assert result.exit_code == 0
    assert "✅ Post-migration verification PASSED\n" in result.stdout
    connection.execute(
        "UPDATE claims SET organization_id = NULL"
        " WHERE id = (SELECT min(id) FROM claims WHERE organization_id IS NOT NULL)"
    )
    result = dagster("verify")
    assert result.exit_code == 1
    assert "public.claims" in result.stdout
    assert "❌ Post-migration verification FAILED" in result.stdout


@pytest.mark.parametrize("command", ["validate", "verify"])
def test_a_check_that_cannot_run_fails_by_its_exit_code(
    dagster: CommandLine, connection: psycopg.Connection, tmp_path: Path, command: str
) -> None:
    """Whatever else is well; which checks, and in which ways, is the matrix of the checks themselves."""
    allow_unmapped(tmp_path)
    if command == "verify":
        assert dagster("migrate").exit_code == 0
    assert dagster(command).exit_code == 0
    connection.execute("REVOKE SELECT ON organizations FROM current_user")
    result = dagster(command)
    assert result.exit_code == 1
    assert "could not run: permission denied for table organizations (SQLSTATE 42501)" in " ".join(
        result.stdout.split()
    )


def allow_unmapped(folder: Path) -> None:
    (folder / "migration.yaml").write_text(f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n")
