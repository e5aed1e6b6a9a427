"""The linter and the formatter have nothing to say."""

from __future__ import annotations

from tenant_migration_tests.tooling import run


def test_linter_finds_nothing():
    result = run("ruff", "check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout


def test_formatter_changes_nothing():
    result = run("ruff", "format", "--check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout
