"""Drops the INVALID indexes that cancelled builds of ours left behind; never another's."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from tenant_migration.backfill.retry import message_of
from tenant_migration.database.connection import outside_transaction, transaction

_LOCK_TIMEOUT_MS = 5_000
"""The drop waits for transactions that use the table; it blocks nobody meanwhile."""

# A parent's index on partitions is INVALID by nature until every partition's is attached, and any index while
# it is being built: whoever builds it holds a lease.
_INVALID = """
SELECT o.object_id, o.object_schema::text, o.object_name::text, o.on_relation
FROM tenant_migration.created_objects AS o
JOIN pg_namespace AS n ON n.nspname = o.object_schema
JOIN pg_class AS ic ON ic.relnamespace = n.oid AND ic.relname = o.object_name AND ic.relkind = 'i'
JOIN pg_index AS i ON i.indexrelid = ic.oid AND NOT i.indisvalid
JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
WHERE o.kind = 'index' AND o.dropped_at IS NULL AND cn.nspname || '.' || c.relname = o.on_relation
  AND NOT EXISTS (SELECT FROM pg_inherits AS attached WHERE attached.inhrelid = ic.oid)
  AND NOT EXISTS (SELECT FROM tenant_migration.leases AS l
                  WHERE l.table_id = o.table_id AND l.expires_at > clock_timestamp())
ORDER BY o.object_id"""


@dataclass
class InvalidIndexes:
    """What became of them, as sentences."""

    dropped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """With the reason."""


def drop_invalid_indexes(connection: psycopg.Connection) -> InvalidIndexes:
    """Drop every registered index that is INVALID; one that cannot be dropped is left, with the reason."""
    found = InvalidIndexes()
    with transaction(connection, read_only=True, row_security=True):
        invalid = connection.execute(_INVALID).fetchall()
    for object_id, schema, name, on_relation in invalid:
        sentence = f"INVALID index {name} on {on_relation}"
        try:
            with outside_transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
                connection.execute(
                    sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))
                )
        except psycopg.Error as error:
            found.left.append(
                f"{sentence}: {message_of(error)}; it costs writes and serves no reader. DROP INDEX "
                "CONCURRENTLY takes it away once older transactions on the table have ended, and so does the "
                "next migration"
            )
            continue
        with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
            connection.execute(
                "UPDATE tenant_migration.created_objects SET dropped_at = clock_timestamp()"
                " WHERE object_id = %s",
                (object_id,),
            )
        found.dropped.append(sentence)
    return found
