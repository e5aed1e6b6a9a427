"""A backup as the source of the values that a rollback brings back.

The comparison stays the rollback's own: only rows that still carry what we wrote, and that the application
has not claimed, are reset. What the backup decides is the value that they get. Rows that it does not have
came after it: the journal decides there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.backfill.structure.names import object_name
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN
from tenant_migration.recovery.results import PreviousValues
from tenant_migration.recovery.rollback.work import Work

_BACKUP = "SELECT state, tenants, reason FROM tenant_migration.backups WHERE backup_id = %s"

_TABLES = """
SELECT m.table_schema || '.' || m.table_name, b.relation::text, b.backup_column::text, b.column_names::text[],
       coalesce(b.journal_batch_id, 0), b.source_checksum = b.copy_checksum,
       to_regclass(format('tenant_migration.%%I', b.relation)) IS NOT NULL
FROM tenant_migration.backed_up_tables AS b JOIN tenant_migration.managed_tables AS m USING (table_id)
WHERE b.backup_id = %s"""


def backup_as_source(
    connection: psycopg.Connection,
    backup_id: int,
    tables: Sequence[TablePlan],
    tenants: Sequence[str] | None,
) -> dict[str, PreviousValues]:
    """Return, for each table, where the backup has its rows. Reads only.

    Args:
        connection: to the database.
        backup_id: number of the backup.
        tables: those that have something to take back.
        tenants: those that are taken back; None: all.

    Raises:
        Refused: there is no such backup, it is not complete or not verified, it does not have a table or a
            tenant, or a table has no key to find its rows by.
    """
    with transaction(connection, read_only=True):
        backup = connection.execute(_BACKUP, (backup_id,)).fetchone()
        parts = {row[0]: row[1:] for row in connection.execute(_TABLES, (backup_id,))}
    _refuse_unusable(backup_id, backup)
    assert backup is not None  # noqa: S101 - refused above
    problems = []
    of_tenants = backup[1]
    if of_tenants is not None:
        missing = sorted(set(tenants) - set(of_tenants)) if tenants is not None else None
        if tenants is None:
            problems.append(
                f"it has the tenants {', '.join(map(repr, of_tenants[:5]))} only; choose them by --tenant"
            )
        elif missing:
            problems.append(f"it does not have tenant {missing[0]!r}")
    for table in tables:
        problem = _problem_with(table, parts.get(table.qualified_name))
        if problem:
            problems.append(f"{table.qualified_name}: {problem}")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise Refused(
            f"backup {backup_id} cannot be the source of this rollback:\n{lines}\n"
            "take another backup (`tenant-migration backup --list`), choose other tables, or leave out "
            "--from-backup: then the journal says what was there before"
        )
    return {table.qualified_name: _source(backup_id, table, parts[table.qualified_name]) for table in tables}


def _refuse_unusable(backup_id: int, backup: tuple[Any, ...] | None) -> None:
    advice = "`tenant-migration backup --list` shows those that there are"
    if backup is None:
        raise Refused(f"there is no backup {backup_id}; {advice}")
    state, _, reason = backup
    if state != "complete":
        why = f": {reason}" if reason else ""
        raise Refused(
            f"backup {backup_id} is not complete ({state}{why}): nothing is taken from it; {advice}"
        )


def _problem_with(table: TablePlan, part: tuple[Any, ...] | None) -> str | None:
    if not table.key_columns:
        return "it has no key, so its rows cannot be found in the backup"
    if part is None:
        return "it is not in the backup"
    _, backup_column, column_names, _, is_verified, exists = part
    missing = [column.name for column in table.key_columns if column.name not in column_names]
    problems = {
        "its copy is gone": not exists,
        "its copy was not equal to the source when it was read back": not is_verified,
        f"its key column {', '.join(missing)} is not in the backup": bool(missing),
        f"it has a column {BACKUP_COLUMN} of its own": backup_column not in (None, BACKUP_COLUMN),
    }
    return next((problem for problem, is_there in problems.items() if is_there), None)


def _source(backup_id: int, table: TablePlan, part: tuple[Any, ...]) -> PreviousValues:
    relation, backup_column, column_names, journal_batch_id, _, _ = part
    return PreviousValues(
        backup_id=backup_id,
        relation=relation,
        by_backup_column=backup_column is not None,
        has_organization=table.organization_column in column_names,
        journal_batch_id=journal_batch_id,
    )


def index_by_key(table: TablePlan, previous: PreviousValues) -> sql.Composed:
    """Build the index by which a backup's rows are found one by one."""
    columns = [sql.Identifier(column.name) for column in table.key_columns]
    if previous.by_backup_column:
        columns.append(sql.Identifier(BACKUP_COLUMN))
    return sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
        sql.Identifier(object_name(previous.relation, "key", "idx")),
        sql.Identifier("tenant_migration", previous.relation),
        sql.SQL(", ").join(columns),
    )


def ensure_index_by_key(work: Work) -> None:
    """Build that index where it is missing, on the copy alone; and let the planner know the copy's size."""
    previous = work.previous
    if previous is None:
        return
    statement = index_by_key(work.table, previous)
    analyze = sql.SQL("ANALYZE {}").format(sql.Identifier("tenant_migration", previous.relation))

    def build(connection: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement(f"an index on backup {previous.backup_id}"),
            transaction(connection, lock_timeout_ms=5_000, statement_timeout_ms=0),
        ):
            connection.execute(statement)
            connection.execute(analyze)

    work.retry.run(f"index of backup {previous.backup_id} of {work.name}", build)
