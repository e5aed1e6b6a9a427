"""Cancels running runs, or some tables of them: each ends within one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.catalog.model import TableName
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.errors import UnknownTable
from tenant_migration.planning.names import TableNames
from tenant_migration.recovery.invalid_indexes import InvalidIndexes, drop_invalid_indexes
from tenant_migration.recovery.stop_runs import Stopped, stop_runs, working_runs

OPERATION = "cancel"
"""In the audit log."""

_TABLES = """
SELECT t.table_schema::text, t.table_name::text, t.table_id, s.interface_schema::text
FROM tenant_migration.managed_tables AS t CROSS JOIN tenant_migration.settings AS s
WHERE t.retired_at IS NULL"""


@dataclass(frozen=True)
class Cancelled:
    """What was cancelled."""

    stopped: Stopped
    """The runs; none: nothing was running, or no run has the tables."""
    tables: tuple[str, ...] | None
    """These tables of them only; None: the whole runs."""
    indexes: InvalidIndexes
    """What cancelled builds left."""


def cancel(connection: psycopg.Connection, *, actor: str, tables: Sequence[str] | None = None) -> Cancelled:
    """Cancel every running run, or the part that tables have in them.

    What is done stays, journaled: running again does what is left, a rollback takes it back. Runs whose
    process is dead are among them.

    Args:
        connection: to the database.
        actor: who.
        tables: `schema.table` or `table`; the runs go on with their other tables. None: the whole runs.

    Raises:
        NotInstalled: the private schema is missing.
        UnknownTable: a name that is not managed.
    """
    with attempt(connection, OPERATION, actor=actor, tables=tables):
        return _cancel(connection, actor=actor, tables=tables)


def _cancel(connection: psycopg.Connection, *, actor: str, tables: Sequence[str] | None) -> Cancelled:
    require_installed(connection)
    chosen = None if tables is None else _find(connection, tables)
    runs = working_runs(connection)
    if chosen is not None:
        runs = tuple(run for run in runs if run.tables is None or not chosen.keys().isdisjoint(run.tables))
    stopped = stop_runs(
        connection,
        runs,
        actor=actor,
        reason=f"cancelled by {actor}",
        table_ids=None if chosen is None else list(chosen.values()),
    )
    indexes = drop_invalid_indexes(connection) if runs else InvalidIndexes()
    audit.record(
        connection,
        operation=OPERATION,
        actor=actor,
        outcome="failed" if stopped.problems else "completed",
        counts={"runs": len(runs)},
        duration_ms=stopped.seconds * 1000,
        detail={
            "runs": [str(run) for run in runs],
            "tables": None if chosen is None else sorted(chosen),
            "problems": stopped.problems,
        },
    )
    return Cancelled(stopped, None if chosen is None else tuple(chosen), indexes)


def _find(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, int]:
    """Return `schema.table` -> number of the tables that were named."""
    with transaction(connection, read_only=True, row_security=True):
        rows = connection.execute(_TABLES).fetchall()
    ids = {TableName(schema, name): table_id for schema, name, table_id, _ in rows}
    known = TableNames(ids, interface_schema=rows[0][3] if rows else "public")
    found: dict[str, int] = {}
    for name in names:
        table = known.find(name)
        if table is None:
            raise UnknownTable(
                f"no managed table {name!r}{known.hint(name)}; `tenant-migration plan` lists them"
            )
        found[str(table)] = ids[table]
    return found
