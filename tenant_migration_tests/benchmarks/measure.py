"""What a benchmark measures of one piece of work, and how pairs of measurements are compared."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg


@dataclass(frozen=True)
class Measurement:
    """One piece of work."""

    wall_s: float
    cpu_s: float
    """Of the server process that did the work and of this one: less disturbed by what else the machine
    does."""
    wal_bytes: int
    heap_growth_bytes: int
    notes: dict[str, float]


def measure(
    connection: psycopg.Connection, relation: str, worker_pid: int, work: Callable[[], dict[str, float]]
) -> Measurement:
    """Do the work after a checkpoint, so that each page pays its first full-page image.

    Args:
        connection: looks from outside.
        relation: whose growth is measured.
        worker_pid: the server process that does the work.
        work: returns what else there is to say.
    """
    connection.execute("CHECKPOINT")
    size, start = _state(connection, relation)
    began, cpu = time.perf_counter(), _cpu_s(worker_pid)
    notes = work()
    wall, cpu = time.perf_counter() - began, _cpu_s(worker_pid) - cpu
    size_after, end = _state(connection, relation)
    return Measurement(wall, cpu, end - start, size_after - size, notes)


def _cpu_s(pid: int) -> float:
    """Return the seconds of CPU of a process of this machine and of our own."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])  # utime, stime
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def _state(connection: psycopg.Connection, relation: str) -> tuple[int, int]:
    row = connection.execute(
        "SELECT pg_relation_size(%s::regclass), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8",
        (relation,),
    ).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True)
class Ratio:
    """Ours divided by theirs, pair by pair; what must not be exceeded, if anything."""

    name: str
    values: tuple[float, ...]
    most: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        return self.most is not None and self.median > self.most

    def __str__(self) -> str:
        spread = f"{min(self.values):.2f} .. {max(self.values):.2f}"
        target = (
            ""
            if self.most is None
            else f"  to reach <= {self.most:.2f}  {'MISSED' if self.missed else 'reached'}"
        )
        return f"{self.name:<28} {self.median:.2f}  ({spread}){target}"


def ratio(
    name: str,
    ours: Sequence[Measurement],
    theirs: Sequence[Measurement],
    value: Callable[[Measurement], float],
    most: float | None = None,
) -> Ratio:
    """Compare pair by pair."""
    return Ratio(name, tuple(value(a) / value(b) for a, b in zip(ours, theirs, strict=True)), most)


def environment(version: str) -> dict[str, object]:
    """Return what the numbers depend on."""
    root = Path(__file__).parents[2]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() or None,
        "server": version,
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
    }


def as_json(
    settings: dict[str, object], measured: dict[str, list[Measurement]], ratios: Sequence[Ratio]
) -> str:
    """Return everything as one JSON document."""
    return json.dumps(
        {
            **settings,
            "measurements": {name: [asdict(one) for one in many] for name, many in measured.items()},
            "ratios": [
                {"name": r.name, "median": r.median, "values": r.values, "most": r.most, "missed": r.missed}
                for r in ratios
            ],
        }
    )
