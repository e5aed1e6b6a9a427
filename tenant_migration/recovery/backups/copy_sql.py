"""SQL that copies rows and reads them back. Pure: names and keys in, queries with parameters out.

A whole-table backup has relations of its own, `backup_<backup_id>_<table_id>`. Backups of some tenants append
to one relation for each table and form of its columns, `backup_rows_<table_id>_<fingerprint>`: backups
of all tenants, one by one, make as many relations as there are tables.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.backfill.target import of_row, type_name
from tenant_migration.database.names import identifier
from tenant_migration.recovery.backups.columns import Source, checksum_of

SCHEMA = "tenant_migration"


def own_relation(backup_id: int, table_id: int) -> str:
    """Return the bare name of a whole table's copy."""
    return f"backup_{backup_id}_{table_id}"


def shared_relation(source: Source) -> str:
    """Return the bare name of the relation that every backup of some of the table's tenants appends to."""
    return f"backup_rows_{source.table_id}_{source.fingerprint}"


def create_copy(source: Source, relation: str) -> sql.Composed:
    """Build the copy of a whole table. A query without parameters, as PostgreSQL wants it here."""
    only = sql.SQL("" if source.table.partitioned else "ONLY ")
    return sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}{} AS t").format(
        sql.Identifier(SCHEMA, relation),
        sql.SQL(", ").join(sql.Identifier("t", name) for name in source.column_names),
        only,
        sql.Identifier(source.table.schema_name, source.table.table_name),
    )


def create_shared(source: Source, relation: str) -> list[sql.Composed]:
    """Build the empty relation for rows of some tenants, and the index that finds a backup's rows."""
    target = sql.Identifier(SCHEMA, relation)
    return [
        sql.SQL("CREATE TABLE {} AS SELECT NULL::bigint AS {}, {} FROM {} AS t WITH NO DATA").format(
            target,
            sql.Identifier(source.backup_column),
            sql.SQL(", ").join(sql.Identifier("t", name) for name in source.column_names),
            sql.Identifier(source.table.schema_name, source.table.table_name),
        ),
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL").format(
            target, sql.Identifier(source.backup_column)
        ),
        sql.SQL("CREATE INDEX ON {} ({})").format(target, sql.Identifier(source.backup_column)),
    ]


def append_rows(source: Source, relation: str) -> sql.Composed:
    """Build the copy of the rows of the tenants `keys`, as the rows of backup `backup_id`."""
    columns = sql.SQL(", ").join(identifier(name) for name in source.column_names)
    return sql.SQL(
        "INSERT INTO {relation} ({backup_column}, {columns})"
        " SELECT %(backup_id)s, {values} FROM {rows} AS t WHERE {chosen}"
    ).format(
        relation=identifier(SCHEMA, relation),
        backup_column=identifier(source.backup_column),
        columns=columns,
        values=sql.SQL(", ").join(of_row(name) for name in source.column_names),
        rows=source.rows,
        chosen=_of_tenants(source),
    )


def source_check(source: Source, *, some_tenants: bool) -> sql.Composed:
    """Build number of rows and checksum of the table, or of the tenants `keys`."""
    return _check(source, source.rows, _of_tenants(source) if some_tenants else None)


def copy_check(source: Source, relation: str, *, some_tenants: bool) -> sql.Composed:
    """Build number of rows and checksum of a copy, or of what backup `backup_id` has in it."""
    chosen = sql.SQL("t.{} = %(backup_id)s").format(identifier(source.backup_column))
    return _check(source, identifier(SCHEMA, relation), chosen if some_tenants else None)


def _check(source: Source, rows: sql.Composable, chosen: sql.Composable | None) -> sql.Composed:
    condition = sql.SQL(" WHERE {}").format(chosen) if chosen else sql.SQL("")
    return sql.SQL("SELECT count(*), {} FROM {} AS t{}").format(checksum_of(source.columns), rows, condition)


def _of_tenants(source: Source) -> sql.Composed:
    column = source.table.tenant_column
    return sql.SQL("{} {} ANY (%(keys)s::{}[])").format(
        of_row(column.name), sql.SQL(column.equality.replace("%", "%%")), type_name(column)
    )


def rows_of_tenants(source: Source) -> sql.Composed:
    """Build a query for the rows of the tenants `keys`: the planner says how many it expects."""
    return sql.SQL("SELECT FROM {} AS t WHERE {}").format(source.rows, _of_tenants(source))


def last_batch(table_id: int) -> sql.Composed:
    """Build the number of the last batch in a table's journal."""
    return sql.SQL("SELECT coalesce(max(batch_id), 0) FROM {}").format(journal_name(table_id))


def export_rows(
    source_columns: list[str], relation: str, backup_column: str | None, backup_id: int
) -> sql.Composed:
    """Build the stream of a copy's rows. A query without parameters."""
    condition = (
        sql.SQL("")
        if backup_column is None
        else sql.SQL(" WHERE t.{} = {}").format(sql.Identifier(backup_column), sql.Literal(backup_id))
    )
    return sql.SQL("COPY (SELECT {} FROM {} AS t{}) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in source_columns),
        sql.Identifier(SCHEMA, relation),
        condition,
    )
