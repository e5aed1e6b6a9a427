"""Imports go one way, and only the orchestration knows Dagster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tenant_migration_tests.tooling import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it
    import tomli as tomllib


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )


def test_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout, result.stdout


def test_every_folder_has_its_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {name.strip().rpartition(".")[2] for layer in layers for name in layer.split("|")}
    folders = {path.parent.name for path in (ROOT / "tenant_migration").glob("*/__init__.py")}
    assert folders - named == set(), "a folder without a layer may import anything"


@pytest.mark.parametrize(
    ("folder", "wrong"),
    [("catalog", "import tenant_migration.cli"), ("backfill", "import dagster")],
)
def test_a_wrong_import_is_noticed(tmp_path, folder, wrong):
    """The contracts can fail: otherwise the first test would prove nothing."""
    package = tmp_path / "tenant_migration"
    for source in (ROOT / "tenant_migration").rglob("*.py"):
        copy = package / source.relative_to(ROOT / "tenant_migration")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (package / folder / "planted.py").write_text(f"{wrong}\n")
    result = lint_imports(tmp_path)
    assert result.returncode != 0, result.stdout
    assert f"tenant_migration.{folder}.planted" in result.stdout
