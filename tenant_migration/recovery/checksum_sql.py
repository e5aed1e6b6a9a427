"""SQL of the checksum of a table as it is now, over chosen columns: as a backup's manifest has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from tenant_migration.backfill.target import of_row, type_name
from tenant_migration.catalog.model import Column
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.backups.columns import checksum_of


def checksum(table: TablePlan, columns: Sequence[Column], *, some_tenants: bool) -> sql.Composed:
    """Build (rows, checksum) of the table, or of the rows of the tenants `keys` (canonical texts)."""
    key = table.tenant_column
    condition = (
        sql.SQL(" WHERE {} {} ANY (%(keys)s::{}[])").format(
            of_row(key.name), sql.SQL(key.equality.replace("%", "%%")), type_name(key)
        )
        if some_tenants
        else sql.SQL("")
    )
    only = sql.SQL("" if table.partitioned else "ONLY ")
    return sql.SQL("SELECT count(*), {} FROM {}{} AS t{}").format(
        checksum_of(columns), only, identifier(table.schema_name, table.table_name), condition
    )
