"""What no file of the repository says: hosts of package registries, paths of the machine it comes from."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenant_migration_tests.tooling import ROOT

# Written in two halves, so that this file does not say them either.
REGISTRY_HOSTS = tuple(
    first + second
    for first, second in (
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("np", "mjs.org"),
        ("np", "mjs.com"),
        ("deb.", "debian.org"),
        ("crates", ".io"),
        ("proxy.", "golang.org"),
    )
)
MACHINE_PATHS = tuple(first + second for first, second in (("/wo", "rk"), ("/ro", "ot"), ("/op", "t/venv")))

IGNORED_FOLDERS = {"__pycache__", "build", "dist", "node_modules"}


def repository_files() -> Iterator[Path]:
    """Every text file of the checkout, but not what tools and virtual environments leave in it."""
    waiting = [ROOT]
    while waiting:
        folder = waiting.pop()
        for path in folder.iterdir():
            if path.is_dir():
                hidden = path.name.startswith(".") and path.name != ".ci"
                generated = path.name in IGNORED_FOLDERS or path.name.endswith(".egg-info")
                if not hidden and not generated and not (path / "pyvenv.cfg").exists():
                    waiting.append(path)
            elif path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:4096]:
                yield path


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in repository_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def configured_registry_hosts() -> list[str]:
    """The hosts that this machine's own pip is told to use."""
    result = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return re.findall(r"https?://(?:[^/'\s]*@)?([^/:'\s]+)", result.stdout)


def test_no_file_names_a_package_registry():
    hosts = [*REGISTRY_HOSTS, *configured_registry_hosts()]
    assert lines_with(re.compile("|".join(map(re.escape, hosts)), re.IGNORECASE)) == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on():
    pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, MACHINE_PATHS))})(?![\w-])")
    assert lines_with(pattern) == []


@pytest.mark.parametrize("name", ["README.md", "pyproject.toml", ".ci/run", "sql/install.sql"])
def test_the_search_looks_into_every_kind_of_file(name):
    assert ROOT / name in set(repository_files())
