"""Reads the backups that there are: complete ones, whole or damaged since, with size, age and state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from tenant_migration.recovery.results import BackedUpTable, Backup

# A relation that lost a column (DROP TYPE ... CASCADE of the application) is no longer what was verified.
# Of a relation that backups share, each has its part by rows.
_TABLES = """
SELECT p.backup_id, m.table_schema || '.' || m.table_name, p.table_id, p.relation::text,
       p.backup_column::text, p.row_count, coalesce(p.source_checksum::text, ''), p.journal_batch_id,
       CASE WHEN p.backup_column IS NULL THEN coalesce(pg_total_relation_size(c.oid::regclass), 0)
            ELSE round(coalesce(pg_total_relation_size(c.oid::regclass), 0)
                       * p.row_count / greatest(shared.rows, 1))
       END::bigint,
       coalesce(p.source_checksum = p.copy_checksum, false)
       AND p.column_names <@ ARRAY(SELECT a.attname FROM pg_attribute AS a
                                   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       c.oid IS NULL, p.checksum_formula
FROM tenant_migration.backed_up_tables AS p
JOIN tenant_migration.backups AS b USING (backup_id)
JOIN tenant_migration.managed_tables AS m USING (table_id)
LEFT JOIN pg_class AS c ON c.relnamespace = 'tenant_migration'::regnamespace AND c.relname = p.relation
                       AND c.relkind = 'r'
CROSS JOIN LATERAL (
    SELECT sum(o.row_count) AS rows FROM tenant_migration.backed_up_tables AS o
    JOIN tenant_migration.backups AS ob USING (backup_id)
    WHERE p.backup_column IS NOT NULL AND o.relation = p.relation AND ob.state = 'complete') AS shared
WHERE b.state = 'complete' AND (%(backup_id)s::int8 IS NULL OR b.backup_id = %(backup_id)s)
ORDER BY p.backup_id, m.position, m.table_schema, m.table_name"""

_BACKUPS = """
SELECT backup_id, state, tenants, created_at, finished_at, clock_timestamp() - created_at, created_by,
       tool_version, lsn::text, snapshot::text, held_by, directory, space
FROM tenant_migration.backups
WHERE state = 'complete' AND (%(backup_id)s::int8 IS NULL OR backup_id = %(backup_id)s)
ORDER BY backup_id DESC"""


def read_backups(connection: psycopg.Connection, backup_id: int | None = None) -> list[Backup]:
    """Return the complete backups, newest first, or the one of this number.

    Part of a transaction of one snapshot (repeatable read): else one that becomes complete meanwhile is seen
    without its tables. One that is being made, or whose process died, is none.
    """
    parameters = {"backup_id": backup_id}
    tables: dict[int, list[BackedUpTable]] = {}
    for number, *row in connection.execute(_TABLES, parameters).fetchall():
        tables.setdefault(number, []).append(_table(row))
    return [
        _backup(row, tuple(tables.get(row[0], ())))
        for row in connection.execute(_BACKUPS, parameters).fetchall()
    ]


def _table(row: Sequence[Any]) -> BackedUpTable:
    table, table_id, relation, backup_column, rows, checksum, batch_id, size_bytes, *state = row
    is_whole, is_gone, formula = state
    return BackedUpTable(
        table=table,
        table_id=table_id,
        relation=relation,
        rows=rows,
        size_bytes=size_bytes,
        checksum=checksum,
        verified=is_whole,
        backup_column=backup_column,
        journal_batch_id=batch_id,
        missing=is_gone,
        checksum_formula=formula,
    )


def _backup(row: Sequence[Any], tables: tuple[BackedUpTable, ...]) -> Backup:
    tenants = row[2]
    return Backup(
        backup_id=row[0],
        state=row[1],
        tables=tables,
        tenants=None if tenants is None else tuple(tenants),
        created_at=row[3],
        finished_at=row[4],
        age=row[5],
        created_by=row[6],
        tool_version=row[7],
        lsn=row[8],
        snapshot=row[9],
        held_by=row[10],
        directory=row[11],
        space=row[12],
    )
