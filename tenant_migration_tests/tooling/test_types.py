"""The type checker has nothing to say, in its strict mode."""

from __future__ import annotations

from tenant_migration_tests.tooling import run


def test_type_checker_finds_nothing():
    result = run("mypy")
    assert result.returncode == 0, result.stdout
