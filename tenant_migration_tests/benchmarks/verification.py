"""What verification costs beside the backfill that it verifies, without and with fingerprints.

    python -m tenant_migration_tests.benchmarks.verification --rows 1000000 [--pairs 5] [--tenants 200]
    [--postgres 18]

Every pair works on two fresh copies of the data, with fingerprints off and with `fingerprints: journal`: the
backfill with all that belongs to it, then its verification; then again after the application added a row to
every tenant, so that each has to be looked at row by row.

    off       verification / backfill, without fingerprints          at most 0.05
    journal   verification / backfill, with fingerprints             at most 0.15
    price     backfill with fingerprints / backfill without
    by row    verification row by row / backfill, without and with

Prints a table and JSON with the most memory that the client and its server process took; exits 1 where a
stated ratio is missed.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.runs import finish_run, start_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.model import Outcome
from tenant_migration.integrity.tenant_verdicts import keep_verdicts
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import store_plan, table_ids
from tenant_migration.quickstart.server import EmbeddedServer
from tenant_migration_tests.benchmarks.claims import (
    SERVER_SETTINGS,
    TABLE,
    benchmark_server,
    database_copy,
    make_templates,
)
from tenant_migration_tests.benchmarks.measure import Measurement, as_json, environment, measure, ratio

_SAMPLE_EVERY_S = 0.02

# As an application in its new release does: with the organization.
_NEW_ROWS = """
INSERT INTO public.claims (tenant_id, profile_id, title, organization_id)
SELECT m.tenant_id, (SELECT id FROM public.profiles LIMIT 1), 'new', m.organization_id
FROM public.tenant_org_mappings AS m"""


def main() -> int:
    """Run the benchmark; return the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped then too
    with benchmark_server(arguments.postgres) as server:
        return _run(server, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--postgres", type=int, default=18)
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def _run(server: EmbeddedServer, arguments: argparse.Namespace) -> int:
    make_templates(server, arguments.rows, arguments.tenants)
    measured: dict[str, list[Measurement]] = {}
    for pair in range(arguments.pairs):
        order = ("off", "journal") if pair % 2 == 0 else ("journal", "off")  # neither always goes first
        for fingerprints in order:
            for name, one in _measure(server, fingerprints, arguments.rows).items():
                measured.setdefault(f"{name}, {fingerprints}", []).append(one)
                _print_one(f"{name}, {fingerprints}", one, arguments.rows)

    def of(name: str, to: str, most: float | None = None, label: str | None = None) -> object:
        return ratio(label or name, measured[name], measured[to], lambda m: m.wall_s, most)

    ratios: list[Any] = [
        of("verification, off", "backfill, off", 0.05),
        of("verification, journal", "backfill, journal", 0.15),
        of("backfill, journal", "backfill, off", label="price of fingerprints"),
        ratio(
            "price of fingerprints, WAL",
            measured["backfill, journal"],
            measured["backfill, off"],
            lambda m: m.wal_bytes,
        ),
        of("row by row, off", "backfill, off"),
        of("row by row, journal", "backfill, journal"),
    ]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    server_mb = max(one.notes.get("server MB", 0.0) for many in measured.values() for one in many)
    print(
        f"\n{arguments.rows:,} rows, {arguments.tenants:,} tenants, {arguments.pairs} pairs; median (spread)"
    )
    print("\n".join(f"  {line}" for line in ratios))
    print(f"  peak memory: this process {peak_mb:.0f} MB, the verifying server process {server_mb:.0f} MB")
    with psycopg.connect(server.uri()) as connection:
        version = f"PostgreSQL {connection.info.parameter_status('server_version')}"
    settings = {
        **environment(version),
        "rows": arguments.rows,
        "tenants": arguments.tenants,
        "pairs": arguments.pairs,
        "server_settings": SERVER_SETTINGS,
        "peak_memory_mb": round(peak_mb),
        "peak_memory_of_server_process_mb": round(server_mb),
    }
    text = as_json(settings, measured, ratios)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any(line.missed for line in ratios) else 0


def _print_one(name: str, one: Measurement, rows: int) -> None:
    notes = "  ".join(f"{key} {value:.1f}" for key, value in one.notes.items())
    print(
        f"{name:<24} {one.wall_s:7.2f} s {one.wall_s / rows * 1e6:6.2f} us/row"
        f" {one.cpu_s / rows * 1e6:6.2f} us CPU {one.wal_bytes / rows:6.1f} WAL B/row  {notes}",
        flush=True,
    )


def _measure(server: EmbeddedServer, fingerprints: str, rows: int) -> dict[str, Measurement]:
    config = MigrationConfig.model_validate({"defaults": {"fingerprints": fingerprints}})
    with (
        database_copy(server, "bare") as url,
        psycopg.connect(server.uri("work"), autocommit=True) as observer,
        connect(url) as connection,
    ):
        observer.execute("SELECT count(*) FROM public.claims")  # warm: all read from memory
        plan = build_plan(connection, config)
        store_plan(connection, plan, "benchmark")
        pid = connection.info.backend_pid

        def verify(least: int) -> dict[str, float]:
            with _memory_of(pid) as used_mb:
                _verify(connection, plan, config, least)
            return {"server MB": max(used_mb)}

        found = {
            "backfill": measure(observer, TABLE, pid, lambda: _backfill(connection, plan)),
            "verification": measure(observer, TABLE, pid, lambda: verify(rows)),
        }
        observer.execute(_NEW_ROWS)
        found["row by row"] = measure(observer, TABLE, pid, lambda: verify(rows))
        return found


def _backfill(connection: psycopg.Connection, plan: Plan) -> dict[str, float]:
    table = plan.table(TABLE)
    assert table is not None
    run = start_run(connection, plan, actor="benchmark")
    result = backfill_table(connection, plan, table, run)
    set_pair_states(
        connection,
        table_id=table_ids(connection)[TABLE],
        tenant_numbers=list(run.tenants.values()),
        state=State.COMPLETED,
        actor="benchmark",
        reason="verified",
        run_id=run.run_id,
    )
    finish_run(connection, run, State.COMPLETED)
    return {"batches": result.batches}


def _verify(connection: psycopg.Connection, plan: Plan, config: MigrationConfig, least: int) -> None:
    results = run_checks_after(connection, plan, config, tables=[TABLE])
    wrong = [check for check in results if check.outcome in (Outcome.FAILED, Outcome.ERRORED)]
    assert not wrong, wrong
    by_name = {check.name: check for check in results}
    assert by_name["organization_matches_mapping"].rows_checked >= least
    if by_name["content_unchanged"].outcome is not Outcome.SKIPPED:
        assert by_name["content_unchanged"].rows_checked == least
    keep_verdicts(connection, results, "post-migration")


@contextmanager
def _memory_of(pid: int) -> Iterator[list[float]]:
    """Give the list of how many MB of its own (not shared buffers) a process of this machine used."""
    used, done = [_own_mb(pid)], threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_EVERY_S):
            used.append(_own_mb(pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield used
    finally:
        done.set()
        sampler.join()


def _own_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell the anonymous memory of a process")


if __name__ == "__main__":
    sys.exit(main())
