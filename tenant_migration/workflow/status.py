"""Reads where a migration stands: what the command line, Dagster and the Python API show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.integrity.tenant_verdicts import worst_outcome
from tenant_migration.mapping.model import StatusCounts
from tenant_migration.mapping.repository import status_counts
from tenant_migration.workflow import status_queries

SCAN_TIMEOUT_MS = 3_600_000
"""Exact counts read each table once, which may take long; it blocks nobody."""

FAILURES_SHOWN = 100
"""Failed and blocked pairs that a status carries with their reason; the counts by state are exact."""


@dataclass(frozen=True)
class TableProgress:
    """One managed table. Rows are exact, counted in one statement."""

    table: str
    """`schema.table`."""
    table_name: str
    """As people see it: without the schema in the interface schema."""
    total_rows: int
    """Rows whose tenant has a mapping."""
    migrated_rows: int
    """Of these, rows that have an organization."""
    rows_null_tenant: int
    rows_allowed_unmapped: int
    """Rows of tenants in `validation.allowed_unmapped_tenants`."""
    rows_unmapped: int
    """Rows of tenants that need a mapping and have none."""
    unmapped_tenants: int
    unmapped_examples: tuple[str, ...]
    """At most ten."""
    pairs: Mapping[str, int]
    """State -> number of tenants in it; tenants that were never touched are in none."""
    journal_bytes: int
    missing: bool = False
    """The table is not there any more, so nothing was counted."""

    @property
    def percentage(self) -> float:
        """0 to 100; a table without rows to migrate is at 100."""
        return percentage(self.migrated_rows, self.total_rows)


@dataclass(frozen=True)
class RunningTable:
    """A table that a run works on, or worked on when it was killed."""

    table_name: str
    run_id: int
    actor: str
    state: str
    reason: str | None
    """Why it is paused or throttled."""
    rows_migrated: int
    rows_expected: int | None
    rows_per_second: float | None
    """None before the first batch."""
    eta_seconds: float | None
    started_at: datetime
    last_batch_at: datetime | None
    alive: bool
    """Whether it holds an unexpired lease. If not, its process is gone; running again goes on from there."""


@dataclass(frozen=True)
class PairFailure:
    """A tenant's part of a table that failed or had to wait for one that failed."""

    table_name: str
    tenant_id: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class TableFinding:
    """What the last verification has against a tenant in one table."""

    table_name: str
    phase: str
    outcome: str
    """`warning`, `failed` or `errored`."""
    failed_checks: tuple[str, ...]
    report_id: int | None
    """In `tenant_migration.reports`; None: the verification of the run itself."""


@dataclass(frozen=True)
class TenantVerdict:
    """What the last verifications say of a tenant, over all tables that it has rows in."""

    tenant_id: str
    outcome: str
    """The worst of its tables: `passed`, `warning`, `failed` or `errored`."""
    tables_judged: int
    judged_at: datetime
    """Of the table that was judged the longest ago."""
    findings: tuple[TableFinding, ...]


@dataclass(frozen=True)
class Status:
    """Everything `status` shows."""

    counts: StatusCounts
    has_plan: bool
    emergency_stop: bool
    """The emergency switch is on: no batch starts."""
    running: tuple[RunningTable, ...]
    failures: tuple[PairFailure, ...]
    waiting: tuple[str, ...]
    """Structure that is not built yet and what it waits for, as sentences."""
    journals_bytes: int
    backups_bytes: int
    tables: tuple[TableProgress, ...] = ()
    """In the plan's order; empty unless `detailed`."""
    verdicts: tuple[TenantVerdict, ...] = ()
    """Of every tenant that was judged; empty unless `detailed`."""

    @property
    def total_rows(self) -> int:
        """Over all tables."""
        return sum(table.total_rows for table in self.tables)

    @property
    def migrated_rows(self) -> int:
        """Over all tables."""
        return sum(table.migrated_rows for table in self.tables)

    @property
    def percentage(self) -> float:
        """0 to 100, over the rows of all tables."""
        return percentage(self.migrated_rows, self.total_rows)


def percentage(done: int, total: int) -> float:
    """Return 0 to 100; of nothing to do, everything is done."""
    return 100.0 if total == 0 else 100.0 * done / total


def read_status(connection: psycopg.Connection, config: MigrationConfig, *, detailed: bool = True) -> Status:
    """Read the status. Changes nothing.

    Args:
        connection: in autocommit mode.
        config: names the interface schema and the tenants that may be without a mapping.
        detailed: count the rows of every managed table, which reads each of them once.

    Raises:
        NotInstalled: the private schema is missing.
        Refused: it is installed for another interface schema than the configuration says.
    """
    require_installed(connection, config)
    counts = status_counts(connection, config)
    with transaction(connection, read_only=True, row_security=True):
        [(has_plan, emergency_stop, backups_bytes)] = connection.execute(status_queries.OVERVIEW)
        managed = [
            status_queries.ManagedTable(*row) for row in connection.execute(status_queries.MANAGED_TABLES)
        ]
        pairs = _pairs(connection)
        running = tuple(
            _running_table(row, config) for row in connection.execute(status_queries.RUNNING_TABLES)
        )
        failures = tuple(
            PairFailure(_shown(schema, table, config), tenant_id, state, reason)
            for schema, table, tenant_id, state, reason in connection.execute(
                status_queries.FAILURES, [FAILURES_SHOWN]
            )
        )
        verdicts = _verdicts(connection, config) if detailed else ()
    tables = tuple(_table_progress(connection, config, table, pairs) for table in managed) if detailed else ()
    return Status(
        counts=counts,
        has_plan=has_plan,
        emergency_stop=emergency_stop,
        running=running,
        failures=failures,
        waiting=tuple(
            f"{_shown(table.schema_name, table.table_name, config)}: {sentence}"
            for table in managed
            for sentence in _waiting(table, pairs.get(table.table_id, {}))
        ),
        journals_bytes=sum(table.journal_bytes for table in managed),
        backups_bytes=backups_bytes,
        tables=tables,
        verdicts=verdicts,
    )


def _verdicts(connection: psycopg.Connection, config: MigrationConfig) -> tuple[TenantVerdict, ...]:
    return tuple(
        TenantVerdict(
            tenant_id=tenant_id,
            outcome=worst_outcome(finding["outcome"] for finding in findings),
            tables_judged=tables,
            judged_at=judged_at,
            findings=tuple(
                TableFinding(
                    table_name=_shown(finding["table_schema"], finding["table_name"], config),
                    phase=finding["phase"],
                    outcome=finding["outcome"],
                    failed_checks=tuple(finding["failed_checks"]),
                    report_id=finding["report_id"],
                )
                for finding in findings
            ),
        )
        for tenant_id, tables, judged_at, findings in connection.execute(status_queries.VERDICTS)
    )


def _pairs(connection: psycopg.Connection) -> dict[int, dict[str, int]]:
    pairs: dict[int, dict[str, int]] = {}
    for table_id, state, tenants in connection.execute(status_queries.PAIRS):
        pairs.setdefault(table_id, {})[state] = tenants
    return pairs


def _table_progress(
    connection: psycopg.Connection,
    config: MigrationConfig,
    table: status_queries.ManagedTable,
    pairs: Mapping[int, Mapping[str, int]],
) -> TableProgress:
    counted: Sequence[Any] = (0, 0, 0, 0, 0, 0, ())
    if table.exists:
        query = status_queries.count_rows(table, config.interface_schema)
        with transaction(
            connection,
            read_only=True,
            statement_timeout_ms=SCAN_TIMEOUT_MS,
            row_security=not table.hides_rows,
        ):
            [counted] = connection.execute(query, {"allowed": config.validation.allowed_unmapped_tenants})
    *numbers, examples = counted
    total, migrated, null_tenant, allowed, unmapped, unmapped_tenants = numbers
    return TableProgress(
        table=f"{table.schema_name}.{table.table_name}",
        table_name=_shown(table.schema_name, table.table_name, config),
        total_rows=total,
        migrated_rows=migrated,
        rows_null_tenant=null_tenant,
        rows_allowed_unmapped=allowed,
        rows_unmapped=unmapped,
        unmapped_tenants=unmapped_tenants,
        unmapped_examples=tuple(examples),
        pairs=pairs.get(table.table_id, {}),
        journal_bytes=table.journal_bytes,
        missing=not table.exists,
    )


def _running_table(row: tuple[object, ...], config: MigrationConfig) -> RunningTable:
    running = status_queries.Running(*row)  # type: ignore[arg-type]
    rate = None
    if running.last_batch_at is not None and running.rows_migrated:
        seconds = (running.last_batch_at - running.started_at).total_seconds()
        rate = running.rows_migrated / seconds if seconds > 0 else None
    eta = None
    if rate and running.rows_expected is not None:
        eta = max(0, running.rows_expected - running.rows_migrated) / rate
    return RunningTable(
        table_name=_shown(running.schema_name, running.table_name, config),
        run_id=running.run_id,
        actor=running.actor,
        state=running.state,
        reason=running.reason,
        rows_migrated=running.rows_migrated,
        rows_expected=running.rows_expected,
        rows_per_second=rate,
        eta_seconds=eta,
        started_at=running.started_at,
        last_batch_at=running.last_batch_at,
        alive=running.alive,
    )


def _waiting(table: status_queries.ManagedTable, pairs: Mapping[str, int]) -> list[str]:
    """Say what is not built yet on a table whose migration has begun."""
    begun = any(state not in {"pending", "rolled_back"} for state in pairs)
    if not begun or not table.has_column:
        return []
    missing = []
    if not table.has_index:
        missing.append(f"the index on {table.organization_column}")
    if not table.has_foreign_key:
        missing.append(f"the foreign key on {table.organization_column}")
    elif not table.foreign_key_validated:
        missing.append(f"the validation of the foreign key on {table.organization_column}")
    return [
        f"{what} waits for the run that leaves no mapped row without its organization" for what in missing
    ]


def _shown(schema: str, table: str, config: MigrationConfig) -> str:
    return table if schema == config.interface_schema else f"{schema}.{table}"


def pair_reasons(
    connection: psycopg.Connection, tables: Sequence[str]
) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Return (table, tenant) -> state and its reason, for every pair of these tables (`schema.table`)."""
    with transaction(connection, read_only=True):
        rows = connection.execute(status_queries.PAIR_REASONS, [list(tables)]).fetchall()
    return {(table, tenant): (state, reason) for table, tenant, state, reason in rows}


def rows_committed_since(
    connection: psycopg.Connection, since: datetime, host: str, process_id: int
) -> list[tuple[str, int]]:
    """Return how many rows of each table the runs of one process committed since a time."""
    with transaction(connection, read_only=True):
        return connection.execute(status_queries.ROWS_COMMITTED, [since, host, process_id]).fetchall()
