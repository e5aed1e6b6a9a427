"""Entries that a journal has lost, written anew from a backup: then the rollback goes as ever.

What we wrote in a row is the organization of its tenant in the last migration of the table; a row that has
it, that had another value in the backup, and that no open entry names, is taken for ours. Nobody knows when
it was written, so that every claim of the application counts as newer (`part_of` is 0).

Done only for tenants of which the journal names fewer rows than were recorded as migrated: while it is
complete, a row that it does not name was written by the application.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from tenant_migration.backfill.claims import claims_exist
from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal import ensure_journal, journal_exists
from tenant_migration.backfill.journal_sql import is_open, journal_name, journal_relation, key_columns
from tenant_migration.backfill.structure.ddl import Ddl
from tenant_migration.backfill.target import of_row, text, type_name
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.errors import JournalIncomplete, Refused
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import ColumnRef, TablePlan
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN
from tenant_migration.recovery.results import PreviousValues
from tenant_migration.recovery.rollback.scope import count_open
from tenant_migration.recovery.rollback.work import Work

_ROWS_EACH = 10_000
"""Rows that one row of the journal holds: the engine divides it further."""

# A rollback that was killed leaves an old count behind; it had looked at the journal when it began.
_RECORDED = """
SELECT tenant_number, rows_migrated FROM tenant_migration.table_states
WHERE table_id = %(table_id)s AND rows_migrated > 0 AND state <> 'rolling_back'
  AND (%(numbers)s::int4[] IS NULL OR tenant_number = ANY (%(numbers)s::int4[]))"""

_REBUILD = """
WITH map AS MATERIALIZED (
    SELECT DISTINCT ON (w.tenant_number) w.tenant_number, w.key::{type} AS key, w.organization_id, w.run_id
    FROM tenant_migration.run_tenants AS w
    JOIN tenant_migration.runs AS r ON r.run_id = w.run_id AND r.kind = 'migrate'
    JOIN tenant_migration.table_runs AS part ON part.run_id = w.run_id AND part.table_id = %(table_id)s
    WHERE w.key_type = {key_type} AND w.tenant_number = ANY (%(numbers)s::int4[])
    ORDER BY w.tenant_number, w.run_id DESC),
known AS MATERIALIZED (
    SELECT {of_entry} FROM {journal} AS j
    CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e (tenant_number, {names})
    WHERE j.phase <> 'kept' AND {open}),
ours AS MATERIALIZED (
    SELECT DISTINCT ON ({keys}) map.run_id, map.tenant_number, t.tableoid AS leaf, {named_keys},
           {previous} AS previous_value
    FROM {table} AS t JOIN {backup} AS b ON {same_row}
    JOIN map ON {organization} = map.organization_id
            AND ({tenant} {equals} map.key OR {tenant_then} {equals} map.key)
    WHERE {previous} IS DISTINCT FROM {organization}
      AND NOT EXISTS (SELECT FROM known WHERE {same_known})
    ORDER BY {keys}, map.tenant_number),
part AS MATERIALIZED (
    SELECT *, (row_number() OVER (PARTITION BY run_id, leaf) - 1) / {rows_each} AS part FROM ours),
written AS (
    INSERT INTO {journal}
        (run_id, leaf, phase, row_count, xid, part_of, tenant_numbers, previous_values, {names})
    SELECT run_id, leaf, 'bulk', count(*), pg_current_xact_id(), 0, array_agg(tenant_number),
           array_agg(previous_value), {folded}
    FROM part GROUP BY run_id, leaf, part
    RETURNING row_count)
SELECT coalesce(sum(row_count), 0) FROM written"""


_CONTINUE = """
SELECT setval({sequence}, greatest(1, {newest_claim},
    (SELECT max(journal_batch_id) FROM tenant_migration.backed_up_tables WHERE table_id = %(table_id)s)))"""


# Since it was last rolled back, and at a time when the backup was taken or before.
_MIGRATED_BEFORE = """
SELECT n.tenant_id, min(r.run_id)
FROM tenant_migration.tenants AS n
JOIN tenant_migration.run_tenants AS w USING (tenant_number)
JOIN tenant_migration.runs AS r ON r.run_id = w.run_id AND r.kind = 'migrate'
JOIN tenant_migration.table_runs AS part ON part.run_id = w.run_id AND part.table_id = %(table_id)s
JOIN tenant_migration.backups AS b ON b.backup_id = %(backup_id)s AND r.started_at <= b.created_at
WHERE n.tenant_number = ANY (%(numbers)s::int4[]) AND w.key_type = %(key_type)s
  AND r.started_at > coalesce((SELECT max(l.occurred_at) FROM tenant_migration.state_log AS l
                               WHERE l.table_id = %(table_id)s AND l.tenant_number = n.tenant_number
                                 AND l.to_state = 'rolled_back'), '-infinity')
GROUP BY n.tenant_id ORDER BY n.tenant_id LIMIT 1"""


def refuse_gaps(work: Work, open_entries: Mapping[int, int]) -> None:
    """Refuse to go by a journal that does not name every row that is recorded as migrated.

    Args:
        work: the table's rollback. By a backup nothing is refused: lost entries were written anew.
        open_entries: tenant number -> entries, of the tenants in scope.

    Raises:
        JournalIncomplete: nothing was changed yet.
    """
    gaps = {} if work.previous is not None else _gaps(work, open_entries)
    if gaps:
        raise JournalIncomplete(
            f"{work.name}: {counted(sum(gaps.values()), 'row')} recorded as migrated, but not named by the "
            "journal any more. Give a backup from before the migration: rollback --from-backup ID",
            gaps,
        )


def _gaps(work: Work, open_entries: Mapping[int, int]) -> dict[int, int]:
    rows = work.retry.run(
        f"recorded rows of {work.name}",
        lambda connection: connection.execute(
            _RECORDED, {"table_id": work.table_id, "numbers": work.tenant_numbers}
        ).fetchall(),
    )
    gaps = {int(number): int(count) - open_entries.get(int(number), 0) for number, count in rows}
    return {number: gap for number, gap in gaps.items() if gap > 0}


def rebuild_lost_entries(work: Work) -> None:
    """Write the entries that are lost, as far as the backup shows them; says so in the notes.

    Raises:
        Refused: the backup is not from before what was lost.
    """
    previous = work.previous
    if previous is None:
        return
    has_journal = work.retry.run(
        f"journal of {work.name}", lambda connection: journal_exists(connection, work.table_id)
    )
    gaps = _gaps(work, count_open(work) if has_journal else {})
    if not gaps:
        return
    _refuse_backup_of_migrated(work, previous, sorted(gaps))
    _ensure_journal(work)
    statement = _rebuild(work.table, work.table_id, previous)

    def rebuild(connection: psycopg.Connection) -> int:
        with (
            work.keep_alive.long_statement("a comparison with a backup"),
            transaction(connection, lock_timeout_ms=5_000, statement_timeout_ms=0),
        ):
            connection.execute("SELECT set_config('enable_nestloop', 'off', true)")
            row = connection.execute(
                statement, {"table_id": work.table_id, "numbers": sorted(gaps)}
            ).fetchone()
            return int(row[0]) if row else 0

    found = work.retry.run(f"lost entries of the journal of {work.name}", rebuild)
    work.tally.notes.append(
        f"the journal did not name {counted(sum(gaps.values()), 'row')} recorded as migrated; {found:,} "
        f"were found by backup {previous.backup_id} and taken back with the others"
    )


def _refuse_backup_of_migrated(work: Work, previous: PreviousValues, numbers: list[int]) -> None:
    """Refuse a backup that holds what the lost entries wrote: it cannot show them."""
    parameters = {
        "table_id": work.table_id,
        "backup_id": previous.backup_id,
        "numbers": numbers,
        "key_type": work.table.tenant_column.quoted_type,
    }
    row = work.retry.run(
        f"runs of {work.name}",
        lambda connection: connection.execute(_MIGRATED_BEFORE, parameters).fetchone(),
    )
    if row is not None:
        raise Refused(
            f"{work.name}: the journal has lost entries of tenant {row[0]!r}, which run {row[1]} had begun "
            f"to migrate before backup {previous.backup_id} was taken: that backup holds what was written. "
            "Choose an earlier one"
        )


def _ensure_journal(work: Work) -> None:
    """Make the journal where it is gone, with numbers above all that claims and backups know of it."""
    connection = work.session.connection
    was_there = journal_exists(connection, work.table_id)
    ensure_journal(
        Ddl(work.retry, work.table.settings.lock_timeout_ms),
        work.table,
        table_id=work.table_id,
        run_id=work.run.run_id,
    )
    if was_there:
        return
    newest_claim = (
        sql.SQL("(SELECT max(after_batch) FROM {})").format(claims_name(work.table_id))
        if claims_exist(connection, work.table_id)
        else sql.SQL("NULL").format()
    )
    statement = sql.SQL(_CONTINUE).format(
        sequence=text(f"tenant_migration.{journal_relation(work.table_id)}_batch_id_seq"),
        newest_claim=newest_claim,
    )
    work.retry.run(
        f"numbers of the journal of {work.name}",
        lambda connection: connection.execute(statement, {"table_id": work.table_id}),
    )


def _rebuild(table: TablePlan, table_id: int, previous: PreviousValues) -> sql.Composed:
    keys = list(zip(table.key_columns, key_columns(table), strict=True))
    names = [sql.Identifier(key.name) for _, key in keys]
    of_table = [of_row(column.name) for column, _ in keys]
    of_backup = [_of_backup(column.name) for column, _ in keys]
    same_row = _equal(table.key_columns, of_table, of_backup)
    if previous.by_backup_column:
        same_row += sql.SQL(" AND b.{} = {}").format(
            sql.Identifier(BACKUP_COLUMN), sql.Literal(previous.backup_id)
        )
    only = sql.SQL("" if table.partitioned else "ONLY ")
    value = _of_backup(table.organization_column) if previous.has_organization else sql.SQL("NULL::uuid")
    return sql.SQL(_REBUILD).format(
        type=type_name(table.tenant_column),
        key_type=text(table.tenant_column.quoted_type),
        journal=journal_name(table_id),
        of_entry=_listed([sql.SQL("e.{}").format(name) for name in names]),
        arrays=_listed([sql.SQL("j.{}").format(name) for name in names]),
        names=_listed(names),
        open=is_open(sql.SQL("e.tenant_number")),
        keys=_listed(of_table),
        named_keys=_listed(
            [sql.SQL("{} AS {}").format(value, name) for value, name in zip(of_table, names, strict=True)]
        ),
        previous=value,
        table=only + identifier(table.schema_name, table.table_name),
        backup=sql.Identifier("tenant_migration", previous.relation),
        same_row=same_row,
        organization=of_row(table.organization_column),
        tenant=of_row(table.tenant_column.name),
        tenant_then=_of_backup(table.tenant_column.name),
        equals=sql.SQL(table.tenant_column.equality.replace("%", "%%")),
        same_known=_equal(table.key_columns, of_table, [sql.SQL("known.{}").format(name) for name in names]),
        rows_each=sql.Literal(_ROWS_EACH),
        folded=_listed([sql.SQL("array_agg({})").format(name) for name in names]),
    )


def _of_backup(column: str) -> sql.Composed:
    return sql.SQL("b.{}").format(identifier(column))


def _listed(parts: list[sql.Composed] | list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _equal(
    columns: tuple[ColumnRef, ...], left: list[sql.Composed], right: list[sql.Composed]
) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(one, sql.SQL(column.equality.replace("%", "%%")), other)
        for column, one, other in zip(columns, left, right, strict=True)
    )
