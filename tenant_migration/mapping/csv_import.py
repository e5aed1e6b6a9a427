"""Imports a file of mappings: all of it, or nothing and every reason at once."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt, note_recorded
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.errors import MappingImportError, UsageError
from tenant_migration.mapping.csv_format import BadLine, MappingLine, parse_mappings
from tenant_migration.mapping.repository import mappings_table

OPERATION = "import mappings"
"""In the audit log."""

BAD_LINES_SHOWN = 1_000
"""A file of another format has as many bad lines as lines: the message stays readable, the count exact."""

LOCK_TIMEOUT_MS = 5_000
"""The references lock organizations that the application may be changing; nobody waits behind an import."""

_ACTIVE_STATES = ["validating", "running", "paused", "throttled", "sweeping", "verifying", "rolling_back"]
"""States of a (table, tenant) in which a run is at work on it."""


@dataclass(frozen=True)
class ImportResult:
    """What an import did. The three add up to the lines of the file."""

    created: int
    changed: int
    unchanged: int

    @property
    def total(self) -> int:
        """Tenants in the file."""
        return self.created + self.changed + self.unchanged


@dataclass(frozen=True)
class _Organizations:
    """The table that the installed mappings refer to."""

    schema: str
    table: str
    id_column: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


def import_mappings(
    connection: psycopg.Connection, config: MigrationConfig, path: Path, actor: str
) -> ImportResult:
    """Write the mappings of a file, in one transaction with their audit record.

    1. The file is read and checked alone, then against the database, so that all reasons come together.
    2. One bad line: nothing is written but the audit record of the attempt.
    3. Else new tenants are inserted and changed ones updated; a mapping that is the same is not touched.

    Args:
        connection: in autocommit mode.
        config: names the interface schema.
        path: the CSV file.
        actor: who, for the audit log.

    Raises:
        UsageError: the file cannot be read.
        MappingImportError: lines are bad; each is listed with its number and reason.
    """
    with attempt(connection, OPERATION, actor=actor, detail={"file": path.name}):
        return _import(connection, config, path, actor)


def _import(connection: psycopg.Connection, config: MigrationConfig, path: Path, actor: str) -> ImportResult:
    started = time.monotonic()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    parsed = parse_mappings(content)
    bad_lines: list[BadLine] = []
    result = None
    with transaction(connection, lock_timeout_ms=LOCK_TIMEOUT_MS):
        bad_lines = sorted([*parsed.bad_lines, *_bad_in_database(connection, config, parsed.lines)])
        if not bad_lines:
            result = _write(connection, config, parsed.lines)
            _record(connection, actor, "completed", path=path, started=started, counts=asdict(result))
    if result is None:
        _record(connection, actor, "failed", path=path, started=started, counts={"bad_lines": len(bad_lines)})
        refusal = MappingImportError(_message(path, bad_lines))
        note_recorded(refusal, OPERATION)
        raise refusal
    return result


def _bad_in_database(
    connection: psycopg.Connection, config: MigrationConfig, lines: tuple[MappingLine, ...]
) -> list[BadLine]:
    if not lines:
        return []
    arrays = _arrays(lines)
    [row] = connection.execute(
        "SELECT organizations_schema, organizations_table, organizations_id FROM tenant_migration.settings"
    )
    organizations = _Organizations(*row)
    missing = [
        BadLine(line, f"organization {organization} of tenant {tenant!r} does not exist in {organizations}")
        for line, tenant, organization in connection.execute(_missing_organizations(organizations), arrays)
    ]
    held = [
        BadLine(
            line,
            f"tenant {tenant!r} is mapped to organization {organization} and {_what_holds(rows, states)}; "
            f"roll it back first (`tenant-migration rollback --tenant`)",
        )
        for line, tenant, organization, rows, states in connection.execute(
            _held_mappings(config), {**arrays, "active": _ACTIVE_STATES}
        )
    ]
    return missing + held


def _what_holds(rows: int, active_states: list[str]) -> str:
    if rows:
        return f"{rows:,} of its rows carry it"
    return f"is being migrated ({', '.join(active_states)})"


def _arrays(lines: tuple[MappingLine, ...]) -> dict[str, object]:
    return {
        "lines": [line.line for line in lines],
        "tenants": [line.tenant_id for line in lines],
        "organizations": [line.organization_id for line in lines],
    }


_FILE = sql.SQL(
    "unnest(%(lines)s::integer[], %(tenants)s::text[], %(organizations)s::uuid[])"
    " AS file (line, tenant_id, organization_id)"
)


def _missing_organizations(organizations: _Organizations) -> sql.Composed:
    """Build the query for lines whose organization is not there."""
    return sql.SQL(
        "SELECT file.line, file.tenant_id, file.organization_id FROM {file}"
        " WHERE NOT EXISTS (SELECT FROM {table} o WHERE o.{id} = file.organization_id)"
    ).format(
        file=_FILE,
        table=identifier(organizations.schema, organizations.table),
        id=identifier(organizations.id_column),
    )


def _held_mappings(config: MigrationConfig) -> sql.Composed:
    """Build the query for lines that would change the mapping of a tenant whose rows carry the old one."""
    return sql.SQL(
        "SELECT file.line, m.tenant_id, m.organization_id, sum(s.rows_migrated)::bigint,"
        " coalesce(array_agg(DISTINCT s.state) FILTER (WHERE s.state = ANY(%(active)s)), '{{}}')"
        " FROM {file} JOIN {mappings} m USING (tenant_id)"
        " JOIN tenant_migration.tenants n USING (tenant_id)"
        " JOIN tenant_migration.table_states s USING (tenant_number)"
        " WHERE m.organization_id <> file.organization_id"
        " GROUP BY file.line, m.tenant_id, m.organization_id"
        " HAVING sum(s.rows_migrated) > 0 OR bool_or(s.state = ANY(%(active)s))"
    ).format(file=_FILE, mappings=mappings_table(config))


def _write(
    connection: psycopg.Connection, config: MigrationConfig, lines: tuple[MappingLine, ...]
) -> ImportResult:
    statement = sql.SQL(
        "INSERT INTO {mappings} AS m (tenant_id, organization_id)"
        " SELECT file.tenant_id, file.organization_id FROM {file} ORDER BY file.tenant_id"
        " ON CONFLICT (tenant_id) DO UPDATE"
        " SET organization_id = excluded.organization_id"
        " WHERE m.organization_id <> excluded.organization_id"
        " RETURNING xmax = 0"  # a row version that nobody locked or deleted yet: inserted
    ).format(file=_FILE, mappings=mappings_table(config))
    inserted = [row[0] for row in connection.execute(statement, _arrays(lines))] if lines else []
    created = sum(inserted)
    changed = len(inserted) - created
    return ImportResult(created, changed, len(lines) - created - changed)


def _record(
    connection: psycopg.Connection,
    actor: str,
    outcome: str,
    *,
    path: Path,
    started: float,
    counts: dict[str, int],
) -> None:
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome=outcome,
        counts=counts,
        duration_ms=round((time.monotonic() - started) * 1000),
        detail={"file": path.name},
    )


def _message(path: Path, bad_lines: list[BadLine]) -> str:
    shown = "\n".join(f"  {bad}" for bad in bad_lines[:BAD_LINES_SHOWN])
    more = len(bad_lines) - BAD_LINES_SHOWN
    rest = f"\n  and {more:,} more" if more > 0 else ""
    noun = "line is" if len(bad_lines) == 1 else "lines are"
    return f"{path}: {len(bad_lines):,} {noun} bad, nothing was written:\n{shown}{rest}"
