"""Our engine against one plain `UPDATE ... FROM`, to the same end state on the same data.

    python -m tenant_migration_tests.benchmarks.backfill --rows 1000000 [--pairs 5] [--tenants 200]
    [--postgres 18]

On an embedded server of its own with fsync, full_page_writes and a checkpoint before each measurement. Every
measurement works on a fresh copy of the data. Ours includes frozen mapping, journal, sweep, verification,
and, where they are not there before, the index and the foreign key.

    a  the plain UPDATE with index and foreign key in place       against ours, without, which builds them
    b  the plain UPDATE, then CREATE INDEX CONCURRENTLY and key   against ours, as in a
    c  the plain UPDATE with index and foreign key in place       against ours with both in place

Prints a table and JSON; exits 1 where a stated ratio is missed.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
from pathlib import Path

import psycopg

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.runs import finish_run, start_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan, table_ids
from tenant_migration.quickstart.server import EmbeddedServer
from tenant_migration_tests.benchmarks.claims import (
    INDEX,
    KEY,
    SERVER_SETTINGS,
    TABLE,
    benchmark_server,
    database_copy,
    make_templates,
)
from tenant_migration_tests.benchmarks.measure import Measurement, as_json, environment, measure, ratio

_PLAIN_UPDATE = """
UPDATE public.claims AS t SET organization_id = m.organization_id
FROM public.tenant_org_mappings AS m WHERE m.tenant_id = t.tenant_id AND t.organization_id IS NULL"""


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
    kinds = {
        "ours": ("bare", _ours),
        "plain, index and key in place": ("indexed", _plain),
        "plain, then index and key": ("bare", _plain_then_structure),
        "ours, index and key in place": ("indexed", _ours),
    }
    measured: dict[str, list[Measurement]] = {name: [] for name in kinds}
    for pair in range(arguments.pairs):
        order = list(kinds) if pair % 2 == 0 else list(reversed(kinds))  # neither always goes first
        for name in order:
            template, work = kinds[name]
            measured[name].append(_measure(server, template, work, arguments.rows))
            _print_one(name, measured[name][-1], arguments.rows)
    ours, indexed, plain, stays = (
        measured[name] for name in ("ours", list(kinds)[1], list(kinds)[2], list(kinds)[3])
    )
    ratios = [
        ratio("a wall", ours, indexed, lambda m: m.wall_s, 0.60),
        ratio("a CPU", ours, indexed, lambda m: m.cpu_s),
        ratio("a WAL", ours, indexed, lambda m: m.wal_bytes, 0.60),
        ratio("a heap growth", ours, indexed, lambda m: m.heap_growth_bytes),
        ratio("b wall", ours, plain, lambda m: m.wall_s, 1.00),
        ratio("b CPU", ours, plain, lambda m: m.cpu_s),
        ratio("b WAL", ours, plain, lambda m: m.wal_bytes),
        ratio("b heap growth", ours, plain, lambda m: m.heap_growth_bytes),
        ratio("c wall (index stays)", stays, indexed, lambda m: m.wall_s, 1.25),
        ratio("c CPU", stays, indexed, lambda m: m.cpu_s),
        ratio("c WAL (index stays)", stays, indexed, lambda m: m.wal_bytes, 1.10),
        ratio("c heap growth", stays, indexed, lambda m: m.heap_growth_bytes),
    ]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{arguments.rows:,} rows, {arguments.tenants:,} tenants, {arguments.pairs} pairs; ours /"
        " theirs, median (spread)"
    )
    print("\n".join(f"  {line}" for line in ratios))
    print(f"  peak memory of this process  {peak_mb:.0f} MB")
    with psycopg.connect(server.uri()) as connection:
        version = f"PostgreSQL {connection.info.parameter_status('server_version')}"
    settings = {
        **environment(version),
        "rows": arguments.rows,
        "tenants": arguments.tenants,
        "pairs": arguments.pairs,
        "server_settings": SERVER_SETTINGS,
        "peak_memory_mb": round(peak_mb),
    }
    text = as_json(settings, measured, ratios)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any(line.missed for line in ratios) else 0


def _print_one(name: str, one: Measurement, rows: int) -> None:
    notes = "  ".join(f"{key} {value:.2f}" for key, value in one.notes.items())
    print(
        f"{name:<32} {one.wall_s:7.2f} s {one.wall_s / rows * 1e6:6.1f} us/row"
        f" {one.cpu_s / rows * 1e6:6.1f} us CPU {one.wal_bytes / rows:6.0f} WAL B/row"
        f" {one.heap_growth_bytes / 1e6:7.1f} MB heap  {notes}",
        flush=True,
    )


def _measure(server: EmbeddedServer, template: str, work: object, rows: int) -> Measurement:
    with (
        database_copy(server, template) as url,
        psycopg.connect(server.uri("work"), autocommit=True) as observer,
        connect(url) as connection,
    ):
        observer.execute("SELECT count(*) FROM public.claims")  # warm: both halves of a pair read from memory
        before = _prepare(connection) if work is _ours else None
        measured = measure(observer, TABLE, connection.info.backend_pid, lambda: work(connection, before))  # type: ignore[operator]
        left = observer.execute("SELECT count(*) FROM public.claims WHERE organization_id IS NULL").fetchone()
        structure = observer.execute(
            "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = 'public.claims'::regclass AND"
            " indisvalid),"
            " (SELECT count(*) FROM pg_constraint WHERE conrelid = 'public.claims'::regclass AND"
            " contype = 'f' AND convalidated)"
        ).fetchone()
        assert left == (0,), f"{left} rows are not migrated"
        assert structure == (5, 2), f"not the same end state: {structure}"
        return measured


def _prepare(connection: psycopg.Connection) -> tuple[object, object]:
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "benchmark")
    return plan, table_ids(connection)


def _ours(connection: psycopg.Connection, prepared: tuple) -> dict[str, float]:
    plan, ids = prepared
    table = plan.table(TABLE)
    run = start_run(connection, plan, actor="benchmark")
    result = backfill_table(connection, plan, table, run)
    began = time.perf_counter()
    checks = run_checks_after(connection, plan, MigrationConfig(), tables=[TABLE])
    assert not any(check.blocks for check in checks), [check for check in checks if check.blocks]
    verified = time.perf_counter() - began
    set_pair_states(
        connection,
        table_id=ids[TABLE],
        tenant_numbers=list(run.tenants.values()),
        state=State.COMPLETED,
        actor="benchmark",
        reason="verified",
        run_id=run.run_id,
    )
    finish_run(connection, run, State.COMPLETED)
    journal = connection.execute(
        f"SELECT pg_total_relation_size('tenant_migration.journal_{ids[TABLE]}')"
    ).fetchone()
    return {
        "backfill s": result.seconds,
        "verify s": verified,
        "HOT": result.hot_share,
        "batches": result.batches,
        "journal B/row": journal[0] / result.rows_migrated,
    }


def _plain(connection: psycopg.Connection, _: object) -> dict[str, float]:
    connection.execute(_PLAIN_UPDATE)
    return {}


def _plain_then_structure(connection: psycopg.Connection, _: object) -> dict[str, float]:
    connection.execute(_PLAIN_UPDATE)
    connection.execute(INDEX.format("CONCURRENTLY"))
    connection.execute(KEY + " NOT VALID")
    connection.execute("ALTER TABLE public.claims VALIDATE CONSTRAINT claims_organization_id_fkey")
    return {}


if __name__ == "__main__":
    sys.exit(main())
