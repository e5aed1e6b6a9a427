"""`validate` and `verify`: what they print, export, and say by their exit code."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

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


def allow_unmapped(folder: Path) -> None:
    (folder / "migration.yaml").write_text(f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n")
