"""Creates a table's journal, and counts from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.journal_sql import (
    create_journal,
    index_journal,
    journal_relation,
    key_columns,
    rows_by_tenant,
)
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.ddl import Ddl
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused
from tenant_migration.planning.model import TablePlan

_BY_INDEX_MOST_TENANTS = 20


def ensure_journal(ddl: Ddl, table: TablePlan, *, table_id: int, run_id: int) -> None:
    """Create the journal when it is missing; refuse one whose key columns are not the table's.

    Raises:
        Refused: the table's key changed since the journal was made.
    """
    connection = ddl.connection
    if not _columns(connection, table_id):
        _create(ddl, table, table_id=table_id, run_id=run_id)
    found = {
        name: kind for name, kind in _columns(connection, table_id) if name.startswith(("key_", "row_ctid"))
    }
    expected = {column.name: column.element_type.as_string(connection) for column in key_columns(table)}
    if found.keys() != expected.keys() or any(
        not _same_type(connection, found[name], text) for name, text in expected.items()
    ):
        raise Refused(
            f"{table.qualified_name}: its key changed since its journal {journal_relation(table_id)} was "
            f"made (journal: {found}, table: {expected}). Rows already migrated could no longer be found; "
            "roll the table back, or restore the key"
        )


def _create(ddl: Ddl, table: TablePlan, *, table_id: int, run_id: int) -> None:
    statements = create_journal(table, table_id)
    name = journal_relation(table_id)
    created = created_objects.Object(
        "journal",
        "tenant_migration",
        name,
        table.name,
        statements[0].as_string(ddl.connection),
    )
    object_id = created_objects.register(ddl.connection, created, table_id=table_id, run_id=run_id)
    failpoints.reach(failpoints.JOURNAL_REGISTERED)

    def create(connection: psycopg.Connection) -> None:
        if not _columns(connection, table_id):
            for statement in statements:
                connection.execute(statement)
        created_objects.mark_created(connection, object_id)

    ddl.run(str(created), create)
    failpoints.reach(failpoints.JOURNAL_CREATED)


def journal_exists(connection: psycopg.Connection, table_id: int) -> bool:
    """Say whether the table has a journal."""
    return bool(_columns(connection, table_id))


def _columns(connection: psycopg.Connection, table_id: int) -> list[tuple[str, str]]:
    """Return names and element types (`"schema"."name"`) of the journal's columns, if it is there."""
    return connection.execute(
        "SELECT a.attname::text, format('%%I.%%I', n.nspname, coalesce(e.typname, t.typname))"
        " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_type AS t ON t.oid = a.atttypid"
        " LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typlen = -1"
        " JOIN pg_namespace AS n ON n.oid = coalesce(e.typnamespace, t.typnamespace)"
        " WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relname = %s"
        " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (journal_relation(table_id),),
    ).fetchall()


def _same_type(connection: psycopg.Connection, found: str, expected: str) -> bool:
    row = connection.execute("SELECT to_regtype(%s) = to_regtype(%s)", (found, expected)).fetchone()
    return bool(row and row[0])


def build_tenant_index(work: Work) -> None:
    """Build the index that finds one tenant's batches; the journal is ours, so a plain build."""

    def build(connection: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement(),
            transaction(
                connection, lock_timeout_ms=work.table.settings.lock_timeout_ms, statement_timeout_ms=0
            ),
        ):
            connection.execute(index_journal(work.table_id))

    work.retry.run(f"index of {journal_relation(work.table_id)}", build)
    failpoints.reach(failpoints.JOURNAL_INDEXED)


@dataclass(frozen=True)
class Journaled:
    """Rows that carry a value written by us, for each tenant number."""

    by_all_runs: dict[int, int]
    by_this_run: dict[int, int]


def count_rows(
    connection: psycopg.Connection, table_id: int, *, run_id: int, tenants: Sequence[int]
) -> Journaled:
    """Count what the open journal says, in one scan; tenants without rows are there with 0.

    Args:
        connection: outside of a transaction.
        table_id: of the managed table.
        run_id: this run.
        tenants: their numbers; the batches of a few are found by the journal's index.
    """
    by_index = len(tenants) <= _BY_INDEX_MOST_TENANTS
    with transaction(connection, statement_timeout_ms=0, read_only=True):
        rows = connection.execute(
            rows_by_tenant(table_id, by_index=by_index),
            {"run_id": run_id, "tenant_numbers": list(tenants)},
        ).fetchall()
    total = {int(number): int(count) for number, count, _ in rows}
    of_run = {int(number): int(count) for number, _, count in rows}
    return Journaled(
        {number: total.get(number, 0) for number in tenants},
        {number: of_run.get(number, 0) for number in tenants},
    )
