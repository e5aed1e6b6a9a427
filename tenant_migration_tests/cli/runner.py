"""Calls the command line and holds what is true of every call: no traceback, no password."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from click.testing import CliRunner

import tenant_migration
from tenant_migration.cli.main import cli

PASSWORD = "S3cret%2Fand%40long"
"""As it stands in the URL; it decodes to S3cret/and@long."""


@dataclass(frozen=True)
class Result:
    """What a call printed and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The message after `Error: `, which has to be the last thing on stderr, and one message."""
        assert self.stderr.count("Error: ") == 1, self.stderr
        return self.stderr.partition("Error: ")[2].strip()


@dataclass(frozen=True)
class CommandLine:
    """Calls `tenant-migration` with an environment."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> Result:
        """Call it in this process."""
        result = CliRunner().invoke(cli, list(arguments), env={**self.environment, **environment})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return checked(Result(result.exit_code, result.stdout, result.stderr))

    def process(self, *arguments: str, **environment: str) -> Result:
        """Call it in a process of its own, as a shell does."""
        done = subprocess.run(
            [sys.executable, "-m", "tenant_migration.cli", *arguments],
            env=self.process_environment(**environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        return checked(Result(done.returncode, done.stdout, done.stderr))

    def process_environment(self, **environment: str) -> dict[str, str]:
        """Return the environment for a process that imports this package."""
        root = str(Path(tenant_migration.__file__).parents[1])
        return {**os.environ, "PYTHONPATH": root, **self.environment, **environment}


def checked(result: Result) -> Result:
    """Fail when a traceback or the password was printed."""
    for text in (result.stdout, result.stderr):
        assert "Traceback" not in text, text
        assert PASSWORD not in text, text
        assert unquote(PASSWORD) not in text, text
    return result
