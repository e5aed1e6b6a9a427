"""SQL that finds batches whose rows are gone because the application emptied their table or partition.

What is in the table now under their keys came later. It is not ours.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_name, written_in
from tenant_migration.backfill.target import text
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan

# The lock that the second part takes before the snapshot of its statement keeps TRUNCATE out until the end of
# the transaction: whoever has it already is waited for, and seen.
_OF_BATCHES = """
ARRAY(SELECT j.batch_id FROM {journal} AS j JOIN tenant_migration.truncations AS x
          ON x.table_id = %(table_id)s AND x.relation IN (j.leaf, {root}::regclass)
         AND x.after_batch >= {written_in}
      WHERE j.batch_id = ANY (%(batch_ids)s::int8[]) AND NOT EXISTS (SELECT FROM {table} WHERE false))"""


def truncated(table: TablePlan, table_id: int) -> sql.Composed:
    """Build the numbers, among the batches `batch_ids`, of those whose rows were truncated."""
    name = sql.Identifier(table.schema_name, table.table_name)
    return sql.SQL(_OF_BATCHES).format(
        journal=journal_name(table_id),
        root=text(name.as_string()),
        written_in=written_in(),
        table=sql.SQL("ONLY {}").format(identifier(table.schema_name, table.table_name)),
    )


def lock_partitions(table: TablePlan) -> sql.Composed:
    """Build the lock that keeps every partition from being truncated. Without parameters."""
    return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(
        sql.Identifier(table.schema_name, table.table_name)
    )
