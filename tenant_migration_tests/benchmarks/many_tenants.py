"""What Dagster's part of `migrate_all` costs with very many tenants.

    python -m tenant_migration_tests.benchmarks.many_tenants [--rows 1000000] [--tenants 5000] [--pairs 3]
    [--postgres 18]

Both sides migrate a fresh copy of the sample (eight tables): one through the job `migrate_all` as the command
line starts it, recorded for each tenant and table in Dagster's storage (PostgreSQL, on the same server), the
other through the Python functions below it, which know nothing of Dagster. Dagster's share is what the first
takes longer, of its own time. A first job fills the storage with the partitions, which a second does not add
again: the measured ones are of databases that Dagster knows.

Prints a table and JSON; exits 1 where the stated share is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from tenant_migration.config import DAGSTER_URL_VARIABLE, MigrationConfig, ValidationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.mapping.csv_import import import_mappings
from tenant_migration.orchestration.launch import run_migrate
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.quickstart.sample.creation import create_sample
from tenant_migration.quickstart.sample.mappings_file import write_mappings
from tenant_migration.quickstart.sample.tenants import UNMAPPED_TENANT
from tenant_migration.quickstart.server import EmbeddedServer
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration_tests.benchmarks.claims import (
    OWNER,
    SERVER_SETTINGS,
    benchmark_server,
    database_copy,
)
from tenant_migration_tests.benchmarks.measure import Measurement, Ratio, as_json, environment

TEMPLATE = "sample"
STORAGE = "dagster"
CONFIG = MigrationConfig(validation=ValidationConfig(allowed_unmapped_tenants=[UNMAPPED_TENANT]))
_MOST = 0.25


def main() -> int:
    """Run the benchmark; return the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped then too
    with benchmark_server(arguments.postgres) as server, tempfile.TemporaryDirectory() as home:
        os.environ["DAGSTER_HOME"] = home
        os.environ[DAGSTER_URL_VARIABLE] = server.uri(STORAGE, OWNER)
        return _run(server, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=5_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--postgres", type=int, default=18)
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def _run(server: EmbeddedServer, arguments: argparse.Namespace) -> int:
    _make_template(server, arguments.rows, arguments.tenants)
    _measure(server, through_dagster=True)
    names = ("through Dagster", "without Dagster")
    measured: dict[str, list[Measurement]] = {name: [] for name in names}
    for pair in range(arguments.pairs):
        for name in names if pair % 2 == 0 else reversed(names):  # neither always goes first
            one = _measure(server, through_dagster=name == names[0])
            measured[name].append(one)
            print(f"{name:<18} {one.wall_s:7.2f} s {one.cpu_s:7.2f} s CPU of this process", flush=True)
    through, without = (measured[name] for name in names)
    shares = tuple(1 - b.wall_s / a.wall_s for a, b in zip(through, without, strict=True))
    ratios = [Ratio("Dagster's share of the time", shares, _MOST)]
    events = _events(server)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{arguments.rows:,} rows, {arguments.tenants:,} tenants, {arguments.pairs} pairs; median (spread)"
    )
    print("\n".join(f"  {line}" for line in ratios))
    print(f"  events of a run              {events / (arguments.pairs + 1):,.0f}")
    print(f"  peak memory of this process  {peak_mb:.0f} MB")
    with psycopg.connect(server.uri()) as connection:
        version = f"PostgreSQL {connection.info.parameter_status('server_version')}"
    settings = {
        **environment(version),
        "rows": arguments.rows,
        "tenants": arguments.tenants,
        "pairs": arguments.pairs,
        "server_settings": SERVER_SETTINGS,
        "events": events,
        "peak_memory_mb": round(peak_mb),
    }
    text = as_json(settings, measured, ratios)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any(line.missed for line in ratios) else 0


def _make_template(server: EmbeddedServer, rows: int, tenants: int) -> None:
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOBYPASSRLS")
        for database in (TEMPLATE, STORAGE):
            connection.execute(f"CREATE DATABASE {database} OWNER {OWNER}")
    for database in (TEMPLATE, STORAGE):
        with psycopg.connect(server.uri(database), autocommit=True) as connection:
            connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
    url = server.uri(TEMPLATE, OWNER)
    summary = create_sample(url, rows=rows, tenants=tenants)
    with connect(url) as connection, tempfile.TemporaryDirectory() as folder:
        install(connection, CONFIG)
        file = Path(folder) / "mappings.csv"
        write_mappings(file, summary)
        import_mappings(connection, CONFIG, file, "benchmark")
        store_plan(connection, build_plan(connection, CONFIG), "benchmark")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _measure(server: EmbeddedServer, *, through_dagster: bool) -> Measurement:
    with (
        database_copy(server, TEMPLATE) as url,
        psycopg.connect(server.uri("work"), autocommit=True) as observer,
    ):
        observer.execute("CHECKPOINT")
        wall, cpu = time.perf_counter(), time.process_time()
        outcomes = _through_dagster(url) if through_dagster else _without_dagster(url)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert {outcome.state for outcome in outcomes} == {"completed"}, [o.reason for o in outcomes]
        return Measurement(wall, cpu, 0, 0, {"tables": len(outcomes)})


def _through_dagster(url: str) -> Sequence[TableOutcome]:
    return run_migrate(url, CONFIG, skip_backup=True)


def _without_dagster(url: str) -> Sequence[TableOutcome]:
    with connect(url) as connection:
        return migrate(connection, CONFIG, load_plan(connection), actor="benchmark")


def _events(server: EmbeddedServer) -> int:
    with psycopg.connect(server.uri(STORAGE)) as connection:
        row = connection.execute("SELECT count(*) FROM event_logs").fetchone()
        assert row is not None
        return int(row[0])


if __name__ == "__main__":
    sys.exit(main())
