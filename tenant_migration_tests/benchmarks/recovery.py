"""Rollback and backup against what one plain statement takes for the same rows.

    python -m tenant_migration_tests.benchmarks.recovery --rows 1000000 [--pairs 5] [--tenants 200]
    [--postgres 18]

Every measurement works on a fresh copy of a database in which our engine migrated the table and built index
and foreign key; a checkpoint before each.

    r  rollback of everything, index kept                        against SET organization_id = NULL
    d  rollback of everything with --drop-created (index first)  against the same
    t  rollback of one tenant with about 1 % of the rows         against the same (of all rows)
    b  a verified backup of the table                            against CREATE TABLE AS

Prints a table and JSON; exits 1 where a stated ratio is missed.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.quickstart.server import EmbeddedServer
from tenant_migration.workflow.backup import take_backup
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.rollback import rollback
from tenant_migration_tests.benchmarks.claims import (
    OWNER,
    SERVER_SETTINGS,
    TABLE,
    benchmark_server,
    database_copy,
    make_templates,
)
from tenant_migration_tests.benchmarks.measure import Measurement, as_json, environment, measure, ratio

MIGRATED = "migrated"
_LEFT = "SELECT count(*) FROM public.claims WHERE organization_id IS NOT NULL"

Notes = dict[str, float]
Work = Callable[[psycopg.Connection, Plan], Notes]


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
    _migrate_template(server)
    kinds: dict[str, tuple[Work, str]] = {
        "plain SET NULL, index kept": (_plain_null, TABLE),
        "rollback, index kept": (_rollback_all, TABLE),
        "rollback, drop created": (_rollback_and_drop, TABLE),
        "rollback of one tenant": (_rollback_tenant, TABLE),
        "plain CREATE TABLE AS": (_plain_copy, TABLE),
        "backup": (_backup, TABLE),
    }
    measured: dict[str, list[Measurement]] = {name: [] for name in kinds}
    for pair in range(arguments.pairs):
        order = list(kinds) if pair % 2 == 0 else list(reversed(kinds))  # neither always goes first
        for name in order:
            measured[name].append(_measure(server, kinds[name][0]))
            _print_one(name, measured[name][-1], arguments.rows)
    plain, kept, dropped, tenant, copy, backup = (measured[name] for name in kinds)
    ratios = [
        ratio("r wall (index kept)", kept, plain, lambda m: m.wall_s, 1.40),
        ratio("r CPU", kept, plain, lambda m: m.cpu_s),
        ratio("r WAL", kept, plain, lambda m: m.wal_bytes),
        ratio("d wall (index dropped)", dropped, plain, lambda m: m.wall_s, 1.00),
        ratio("d WAL", dropped, plain, lambda m: m.wal_bytes),
        ratio("t wall (one tenant, 1 %)", tenant, plain, lambda m: m.wall_s, 0.05),
        ratio("b wall (backup)", backup, copy, lambda m: m.wall_s, 1.30),
        ratio("b WAL", backup, copy, lambda m: m.wal_bytes),
    ]
    slowest_backup = max(one.wall_s for one in backup)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{arguments.rows:,} rows, {arguments.tenants:,} tenants, {arguments.pairs} pairs; ours /"
        " theirs, median (spread)"
    )
    print("\n".join(f"  {line}" for line in ratios))
    print(f"  slowest backup               {arguments.rows / slowest_backup:,.0f} rows/s")
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
    notes = "  ".join(f"{key} {value:,.2f}" for key, value in one.notes.items())
    print(
        f"{name:<28} {one.wall_s:7.2f} s {one.cpu_s:7.2f} s CPU {one.wal_bytes / rows:6.0f} WAL B/row"
        f" {one.heap_growth_bytes / 1e6:7.1f} MB heap  {notes}",
        flush=True,
    )


def _migrate_template(server: EmbeddedServer) -> None:
    """Make the database that everything starts from: migrated by us, index and foreign key built by us."""
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {MIGRATED} OWNER {OWNER} TEMPLATE bare STRATEGY file_copy")
    with connect(server.uri(MIGRATED, OWNER)) as connection:
        plan = build_plan(connection, MigrationConfig())
        store_plan(connection, plan, "benchmark")
        [outcome] = migrate(connection, MigrationConfig(), plan, actor="benchmark")
        assert outcome.state == "completed", outcome.reason
    with psycopg.connect(server.uri(MIGRATED, OWNER), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _measure(server: EmbeddedServer, work: Work) -> Measurement:
    with (
        database_copy(server, MIGRATED) as url,
        psycopg.connect(server.uri("work"), autocommit=True) as observer,
        connect(url) as connection,
    ):
        observer.execute("SELECT count(*) FROM public.claims")  # warm: both halves of a pair read from memory
        plan = load_plan(connection)
        if work is _plain_null:
            _drop_claim_triggers(connection)  # a plain UPDATE knows none, and would pay for each row
        return measure(observer, TABLE, connection.info.backend_pid, lambda: work(connection, plan))


def _drop_claim_triggers(connection: psycopg.Connection) -> None:
    triggers = connection.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'tenant_migration%%'",
        (TABLE,),
    ).fetchall()
    assert triggers
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name} ON {TABLE}")


def _plain_null(connection: psycopg.Connection, _: Plan) -> Notes:
    connection.execute("UPDATE public.claims SET organization_id = NULL")
    return {}


def _rollback_all(connection: psycopg.Connection, plan: Plan) -> Notes:
    return _rollback(connection, plan)


def _rollback_and_drop(connection: psycopg.Connection, plan: Plan) -> Notes:
    return _rollback(connection, plan, drop_created=True)


def _rollback(connection: psycopg.Connection, plan: Plan, *, drop_created: bool = False) -> Notes:
    [outcome] = rollback(
        connection,
        MigrationConfig(),
        plan,
        actor="benchmark",
        tables=[TABLE] if not drop_created else None,
        drop_created=drop_created,
        verify=False,
    )
    assert outcome.state == "rolled_back", outcome.reason
    assert outcome.result is not None
    assert connection.execute(_LEFT).fetchone() == (0,)
    return {"rows": outcome.result.rows_restored, "batches": outcome.result.batches}


def _rollback_tenant(connection: psycopg.Connection, plan: Plan) -> Notes:
    row = connection.execute(
        "SELECT tenant_id, count(*), (SELECT count(*) FROM public.claims) FROM public.claims"
        " GROUP BY tenant_id ORDER BY abs(count(*) - 0.01 * (SELECT count(*) FROM public.claims)) LIMIT 1"
    ).fetchone()
    assert row is not None
    tenant, rows, every = row
    [outcome] = rollback(
        connection, MigrationConfig(), plan, actor="benchmark", tenants=[tenant], verify=False
    )
    assert outcome.state == "rolled_back", outcome.reason
    assert outcome.result is not None
    assert outcome.result.rows_restored == rows
    return {"rows": rows, "share %": 100 * rows / every, "batches": outcome.result.batches}


def _plain_copy(connection: psycopg.Connection, _: Plan) -> Notes:
    connection.execute("CREATE TABLE public.claims_copy AS SELECT * FROM public.claims")
    return {}


def _backup(connection: psycopg.Connection, plan: Plan) -> Notes:
    backup = take_backup(connection, MigrationConfig(), plan, actor="benchmark")
    assert backup.verified
    return {"rows": backup.rows, "bytes a row": backup.size_bytes / backup.rows}


if __name__ == "__main__":
    sys.exit(main())
