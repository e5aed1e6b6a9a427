"""The five benchmarks of the original tool's guide, per 100,000 records of the sample "Union Claims".

    python -m tenant_migration_tests.benchmarks.from_the_original [--rows 100000] [--repeats 5]
    python -m tenant_migration_tests.benchmarks.from_the_original --docs     the table in docs/ from the JSON

Every repeat works on a fresh copy of the database, first through the Python API and then by the commands as
people type them, in the order validate, backup, migrate, verify, rollback. A command's time holds all of it:
Python, Dagster, the connection, the report. The migration takes no backup, which is measured beside it; it
validates before and verifies after, as it always does.

Writes benchmarks/results/from_the_original.json when the rows are 100,000; from it `--docs` writes the table.
Exits 1 when an operation is slower than the guide's own number, scaled to the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

import tenant_migration
from tenant_migration.config import MigrationConfig, ValidationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.mapping.csv_import import import_mappings
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.quickstart.sample import UNMAPPED_TENANT, create_sample, write_mappings
from tenant_migration.quickstart.server import EmbeddedServer
from tenant_migration_tests.benchmarks.claims import (
    OWNER,
    SERVER_SETTINGS,
    benchmark_server,
    database_copy,
)
from tenant_migration_tests.benchmarks.measure import environment

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "from_the_original.json"
PAGE = ROOT / "docs" / "from-the-original.md"
BEGIN, END = "<!-- begin: from_the_original.json -->", "<!-- end: from_the_original.json -->"

RECORDS = 100_000
GUIDE_S: Mapping[str, tuple[float, float]] = {
    "validation": (30, 30),
    "backup": (60, 120),
    "migration": (300, 600),
    "verification": (20, 30),
    "rollback": (120, 180),
}
"""Seconds per 100,000 records as the original's guide gives them, from and to; in the order of use."""
COMMANDS = {
    "validation": ("validate",),
    "backup": ("backup", "--create"),
    "migration": ("migrate", "--skip-backup"),
    "verification": ("verify", "--post"),
    "rollback": ("rollback", "--all", "--yes"),
}
SAMPLE = "sample"
CONFIG = MigrationConfig(validation=ValidationConfig(allowed_unmapped_tenants=[UNMAPPED_TENANT]))
CONFIG_FILE = f"validation:\n  allowed_unmapped_tenants: [{UNMAPPED_TENANT}]\n"

Seconds = dict[str, list[float]]


def main() -> int:
    """Run the benchmark, or write the table; return the exit code."""
    arguments = _arguments()
    if arguments.docs:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped then too
    with benchmark_server(arguments.postgres) as server:
        result = _run(server, arguments)
    print("\n".join(table_lines(result)))
    text = json.dumps(result, indent=2)
    print(text)
    into = arguments.json or (RESULTS if arguments.rows == RECORDS else None)
    if into is not None:
        into.write_text(text + "\n", encoding="utf-8")
    return 1 if any(_is_slower(result, name) for name in GUIDE_S) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=RECORDS)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--postgres", type=int, default=18)
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--docs", action="store_true", help="measure nothing: write the table in docs/")
    return parser.parse_args()


def _run(server: EmbeddedServer, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = server.data_folder.parent / "home"
    folder.mkdir(mode=0o711)
    _make_sample(server, folder, arguments.rows, arguments.tenants)
    through_python: Seconds = {name: [] for name in GUIDE_S}
    by_command: Seconds = {name: [] for name in GUIDE_S}
    for _ in range(arguments.repeats):
        with database_copy(server, SAMPLE) as url:
            for name, work in _operations(url).items():
                _measure(server, through_python[name], name, "Python", work)
        with database_copy(server, SAMPLE) as url:
            for name, command in COMMANDS.items():
                _measure(server, by_command[name], name, "command", _command(server, url, folder, command))
    with psycopg.connect(server.uri()) as connection:
        version = f"PostgreSQL {connection.info.parameter_status('server_version')}"
    return {
        **environment(version),
        "rows": arguments.rows,
        "tenants": arguments.tenants,
        "repeats": arguments.repeats,
        "server_settings": SERVER_SETTINGS,
        "seconds": {"python": through_python, "command": by_command},
    }


def _make_sample(server: EmbeddedServer, folder: Path, rows: int, tenants: int) -> None:
    """Make the sample with its mappings and plan once, and an empty database for Dagster's storage."""
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOBYPASSRLS")
        connection.execute(f"CREATE DATABASE {SAMPLE} OWNER {OWNER}")
        connection.execute(f"CREATE DATABASE dagster OWNER {OWNER}")
    url = server.uri(SAMPLE, OWNER)
    summary = create_sample(url, rows=rows, tenants=tenants)
    mappings = folder / "mappings.csv"
    write_mappings(mappings, summary)
    (folder / "migration.yaml").write_text(CONFIG_FILE, encoding="utf-8")
    with connect(url) as connection:
        install(connection, CONFIG)
        import_mappings(connection, CONFIG, mappings, "benchmark")
        store_plan(connection, build_plan(connection, CONFIG), "benchmark")
        connection.execute("VACUUM (ANALYZE)")


def _operations(url: str) -> dict[str, Callable[[], None]]:
    def validation() -> None:
        assert (
            tenant_migration.run_pre_migration_validation(database_url=url, config=CONFIG)["status"] != "fail"
        )

    def backup() -> None:
        assert tenant_migration.create_all_backups(database_url=url, config=CONFIG).verified

    def migration() -> None:
        outcomes = tenant_migration.migrate_all_tables(database_url=url, config=CONFIG)
        assert {outcome.state for outcome in outcomes} == {"completed"}

    def verification() -> None:
        assert (
            tenant_migration.run_post_migration_validation(database_url=url, config=CONFIG)["status"]
            != "fail"
        )

    def rollback() -> None:
        outcomes = tenant_migration.rollback_all_tables(database_url=url, config=CONFIG)
        assert {outcome.state for outcome in outcomes} == {"rolled_back"}

    works = (validation, backup, migration, verification, rollback)
    return {work.__name__: work for work in works}


def _command(server: EmbeddedServer, url: str, folder: Path, command: tuple[str, ...]) -> Callable[[], None]:
    environment_of_it = os.environ | {
        "TENANT_MIGRATION_DATABASE_URL": url,
        "TENANT_MIGRATION_DAGSTER_URL": server.uri("dagster", OWNER),
        "TENANT_MIGRATION_CONFIG": str(folder / "migration.yaml"),
        "DAGSTER_HOME": str(folder),
    }

    def work() -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tenant_migration.cli", *command],
            env=environment_of_it, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")

    return work


def _measure(
    server: EmbeddedServer, into: list[float], name: str, how: str, work: Callable[[], None]
) -> None:
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    began = time.perf_counter()
    work()
    into.append(round(time.perf_counter() - began, 3))
    print(f"{name:<14} {how:<8} {into[-1]:8.2f} s", flush=True)


def with_table(page: str, result: Mapping[str, Any] | None = None) -> str:
    """Return the page with the table between its marks written from the numbers.

    Args:
        page: its text.
        result: the numbers; None: those of the committed JSON, where there is one.
    """
    if result is None and RESULTS.exists():
        result = json.loads(RESULTS.read_text(encoding="utf-8"))
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return "\n".join([before + BEGIN, *table_lines(result), END + after])


def table_lines(result: Mapping[str, Any] | None) -> list[str]:
    """Return the table; without numbers it says that there are none."""
    rows = result["rows"] if result else RECORDS
    lines = [
        f"| {rows:,} records | the original's guide | the whole command | through Python |",
        "| --- | --- | --- | --- |",
    ]
    for name, (least, most) in GUIDE_S.items():
        guide = f"~{least:g} s" if least == most else f"~{least:g} to {most:g} s"
        cells = ["not measured yet"] * 2
        if result is not None:
            cells = [_cell(result["seconds"][how][name]) for how in ("command", "python")]
        command = " ".join(COMMANDS[name])
        lines.append(f"| {name} (`{command}`) | {guide} | {cells[0]} | {cells[1]} |")
    if result is not None:
        lines += [
            "",
            f"Median (least to most) of {result['repeats']}; {result['rows']:,} rows in eight tables, "
            f"{result['tenants']} tenants; {result['server']}, {result['cores']} cores, commit "
            f"{result['commit']}.",
        ]
    return lines


def _cell(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def _is_slower(result: Mapping[str, Any], name: str) -> bool:
    """Say whether a command took longer than the guide says; with fewer rows its start would count double."""
    most = GUIDE_S[name][1] * max(1.0, result["rows"] / RECORDS)
    return statistics.median(result["seconds"]["command"][name]) > most


if __name__ == "__main__":
    sys.exit(main())
