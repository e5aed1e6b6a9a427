"""SQL of dropping what we made: what is there, what the column holds, the statements. Builders are pure."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.journal_sql import is_open, journal_name
from tenant_migration.catalog.model import TableName
from tenant_migration.planning.model import TablePlan

EXAMPLES_MOST = 10

FOREIGN_KEY_EXISTS = """
SELECT EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
               JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE k.contype = 'f' AND n.nspname = %s AND c.relname = %s AND k.conname = %s)"""

TRIGGER_EXISTS = """
SELECT EXISTS (SELECT FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
               JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = %s AND c.relname = %s AND t.tgname = %s)"""

INDEX = """
SELECT ic.relkind = 'I', EXISTS (SELECT FROM pg_inherits WHERE inhrelid = ic.oid)
FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid
JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND ic.relname = %s"""
"""(of a partitioned table, attached to a parent's); no row: it is gone."""


def qualified(name: TableName) -> sql.Identifier:
    """Return the quoted name, for statements without parameters."""
    return sql.Identifier(name.schema, name.name)


def drop_constraint(on: TableName, name: str) -> sql.Composed:
    """Build the statement."""
    return sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(qualified(on), sql.Identifier(name))


def drop_index(schema: str, name: str, *, concurrently: bool) -> sql.Composed:
    """Build the statement. A partitioned table's index takes no concurrent drop (PostgreSQL refuses it)."""
    text = "DROP INDEX CONCURRENTLY IF EXISTS {}" if concurrently else "DROP INDEX IF EXISTS {}"
    return sql.SQL(text).format(sql.Identifier(schema, name))


def drop_column(table: TablePlan) -> sql.Composed:
    """Build the statement; RESTRICT, so that what depends on the column refuses it."""
    return sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {} RESTRICT").format(
        qualified(table.name), sql.Identifier(table.organization_column)
    )


def lock_table(table: TablePlan) -> sql.Composed:
    """Build the lock that the drop takes anyway, partitions included; first, so that nothing changes."""
    return sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(qualified(table.name))


def values_held(table: TablePlan) -> sql.Composed:
    """Build the query of (rows with a value, keys of a few of them as text)."""
    names = [column.name for column in table.key_columns] or ["ctid"]
    columns = [sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in names]
    key = sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(columns))
    return sql.SQL(
        "SELECT count(*), coalesce((array_agg(key ORDER BY key) FILTER (WHERE number <= {most})), '{{}}')"
        " FROM (SELECT {key} AS key, row_number() OVER () AS number FROM {table} AS t"
        " WHERE t.{column} IS NOT NULL) AS held"
    ).format(
        most=sql.Literal(EXAMPLES_MOST),
        key=key,
        table=qualified(table.name),
        column=sql.Identifier(table.organization_column),
    )


def drop_trigger(on: TableName, name: str) -> sql.Composed:
    """Build the statement; also for a partition that is gone."""
    return sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(name), qualified(on))


def open_entries(table_id: int) -> sql.Composed:
    """Build the query of how many rows the journal says carry a value that we wrote, not taken back yet."""
    return sql.SQL(
        "SELECT count(*) FROM {} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers) AS number"
        " WHERE j.phase <> 'kept' AND {}"
    ).format(journal_name(table_id), is_open(sql.Identifier("number")))
