"""Starts workers on a world and looks at them from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenant_migration.backfill import failpoints
from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration_tests.backfill.conftest import World

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class Worker:
    """A process that migrates."""

    process: subprocess.Popen[str]

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that it has to do."""
        wait_until(lambda: condition() or self.process.poll() is not None, what)
        assert self.process.poll() is None, f"ended before {what}: {self.process.communicate()}"

    def freeze(self) -> None:
        """Let it be as unreachable as a paused virtual machine."""
        os.kill(self.process.pid, signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self) -> None:
        """Wait until it is frozen, by us or by itself at a failpoint."""
        self.wait_until(lambda: self._state() == "T", "it freezes")

    def thaw(self) -> list[str]:
        """Let it go on, and to its end; return the lines it printed."""
        os.kill(self.process.pid, signal.SIGCONT)
        return self.end()

    def end(self) -> list[str]:
        """Wait for its end; return the lines it printed."""
        output, errors = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, errors
        return output.split("\n")[:-1]

    def _state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def working(world: World, **arguments: object) -> Iterator[Worker]:
    """Start a worker; it is gone afterwards, whatever happens."""
    environment = {**os.environ, DATABASE_URL_VARIABLE: world.url}
    environment.pop(failpoints.VARIABLE, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant_migration_tests.recovery.slow_worker", json.dumps(arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


def filled(world: World, table: str = "public.claims") -> int:
    """Rows that have an organization by now."""
    if not world.one(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'organization_id'"
        " AND NOT attisdropped",
        table,
    ):
        return 0
    return world.one(f"SELECT count(*) FROM {table} WHERE organization_id IS NOT NULL")
