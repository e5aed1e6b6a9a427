"""What is where: for each table what of ours is in it, by the database's books. Reads only.

An emergency ends with it. Whether the rows agree with the books is the verification's question.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill.journal_sql import KEPT, is_open, journal_name
from tenant_migration.database.connection import transaction
from tenant_migration.planning.counted import counted

_TABLES = """
SELECT t.table_id, t.table_schema || '.' || t.table_name, t.retired_at IS NULL,
       to_regclass('tenant_migration.journal_' || t.table_id) IS NOT NULL,
       (SELECT count(*) FROM tenant_migration.table_states AS s
        WHERE s.table_id = t.table_id
          AND (s.rows_migrated > 0
               OR s.state NOT IN ('pending', 'rolled_back', 'failed', 'blocked', 'cancelled'))),
       ARRAY(SELECT l.holder FROM tenant_migration.leases AS l
             WHERE l.table_id = t.table_id ORDER BY l.holder),
       ARRAY(SELECT format('%s %s on %s', replace(o.kind, '_', ' '), o.object_name, o.on_relation)
             FROM tenant_migration.created_objects AS o
             WHERE o.table_id = t.table_id AND o.kind <> 'journal' AND o.created_at IS NOT NULL
               AND o.dropped_at IS NULL
             ORDER BY o.object_id)
FROM tenant_migration.managed_tables AS t
ORDER BY t.position, t.table_schema, t.table_name"""

_OPEN_ENTRIES = """
SELECT count(*)
FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers) AS entry (tenant_number)
WHERE {is_open} AND j.phase <> {kept}"""


@dataclass(frozen=True)
class TableWhereabouts:
    """What of ours is in one table."""

    table: str
    planned: bool
    """Whether the newest plan has it; one that it has no more is not rolled back with the others."""
    rows_ours: int
    """Rows that the journal says carry a value of ours: written, and not taken back."""
    pairs_left: int
    """Tenants that are not rolled back in it."""
    leases: tuple[str, ...]
    """Who still has the right to write to it."""
    structure: tuple[str, ...]
    """What we created on it and is still there; a rollback keeps it."""

    @property
    def left(self) -> tuple[str, ...]:
        """What an emergency should not have left, as sentences."""
        found = []
        if self.rows_ours:
            found.append(f"{self.table}: {counted(self.rows_ours, 'row')} with a value of ours")
        if self.pairs_left:
            found.append(f"{self.table}: {counted(self.pairs_left, 'tenant')} not rolled back")
        found += [f"{self.table}: {holder} still holds a lease" for holder in self.leases]
        if found and not self.planned:
            found.append(f"{self.table} is not in the newest plan: `plan --write` with it, then roll it back")
        return tuple(found)


def read_whereabouts(connection: psycopg.Connection) -> tuple[TableWhereabouts, ...]:
    """Read what of ours is in each table that was ever managed, in the plan's order."""
    found = []
    with transaction(connection, read_only=True, statement_timeout_ms=0, isolation="repeatable read"):
        for table_id, table, planned, has_journal, pairs, leases, structure in connection.execute(
            _TABLES
        ).fetchall():
            rows = 0
            if has_journal:
                statement = sql.SQL(_OPEN_ENTRIES).format(
                    journal=journal_name(table_id),
                    is_open=is_open(sql.SQL("entry.tenant_number")),
                    kept=sql.Literal(KEPT),
                )
                [(rows,)] = connection.execute(statement).fetchall()
            found.append(TableWhereabouts(table, planned, int(rows), pairs, tuple(leases), tuple(structure)))
    return tuple(found)
