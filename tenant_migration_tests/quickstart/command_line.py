"""Runs the command line as a person does: another process, a home of its own, nothing inherited."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-c", "from tenant_migration.cli.main import main; main()"]


@dataclass(frozen=True)
class CommandLine:
    """The command line of one Dagster home."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a new terminal would give, and where the package is when it is not installed."""
        names = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")  # the last: some Pythons need it to start
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {
            **inherited,
            "HOME": str(self.home.parent),
            "DAGSTER_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*_COMMAND, *arguments],
            env=self.environment | more,
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on until it is told to end."""
        return subprocess.Popen(
            [*_COMMAND, *arguments],
            env=self.environment,
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
