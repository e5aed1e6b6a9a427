"""The register of what the tool made: committed before the object is created.

So a crash can be cleaned. Only what is registered here may ever be dropped by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psycopg

from tenant_migration.catalog.model import TableName
from tenant_migration.database.connection import transaction

Kind = Literal["column", "index", "foreign_key", "constraint", "trigger", "journal"]


@dataclass(frozen=True)
class Object:
    """Something that is going to be created."""

    kind: Kind
    schema: str
    name: str
    on_relation: TableName
    definition: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name} on {self.on_relation}"


_REGISTER = """
INSERT INTO tenant_migration.created_objects
    (table_id, kind, object_schema, object_name, on_relation, definition, run_id)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (kind, object_schema, object_name, on_relation) WHERE dropped_at IS NULL
DO UPDATE SET definition = excluded.definition
RETURNING object_id"""


def register(connection: psycopg.Connection, created: Object, *, table_id: int, run_id: int) -> int:
    """Register an object that is about to be created, or find it registered; return its number."""
    with transaction(connection, lock_timeout_ms=5_000):
        row = connection.execute(
            _REGISTER,
            (
                table_id,
                created.kind,
                created.schema,
                created.name,
                str(created.on_relation),
                created.definition,
                run_id,
            ),
        ).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


def mark_created(connection: psycopg.Connection, object_id: int) -> None:
    """Note that the object is there. May be part of a transaction."""
    connection.execute(
        "UPDATE tenant_migration.created_objects SET created_at = coalesce(created_at, clock_timestamp())"
        " WHERE object_id = %s",
        (object_id,),
    )


def is_registered(
    connection: psycopg.Connection, kind: Kind, schema: str, name: str, on_relation: TableName
) -> bool:
    """Say whether we made, or were about to make, this object."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM tenant_migration.created_objects WHERE kind = %s AND object_schema = %s"
        " AND object_name = %s AND on_relation = %s AND dropped_at IS NULL)",
        (kind, schema, name, str(on_relation)),
    ).fetchone()
    return bool(row and row[0])


_CONFIRM_INDEXES = """
UPDATE tenant_migration.created_objects AS o SET created_at = clock_timestamp()
WHERE o.table_id = %s AND o.kind = 'index' AND o.created_at IS NULL AND o.dropped_at IS NULL
  AND EXISTS (SELECT FROM pg_index AS i
              JOIN pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = ic.relnamespace
              JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
              WHERE i.indisvalid AND n.nspname = o.object_schema AND ic.relname = o.object_name
                AND cn.nspname || '.' || c.relname = o.on_relation)"""


def confirm_indexes(connection: psycopg.Connection, table_id: int) -> None:
    """Note indexes that are there, but whose builder died before it could say so.

    A concurrent build is no part of a transaction, so the register cannot change together with it.
    """
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(_CONFIRM_INDEXES, (table_id,))


@dataclass(frozen=True)
class Registered:
    """Something that we made, or were about to make, and have not dropped."""

    object_id: int
    kind: Kind
    schema: str
    name: str
    on_relation: TableName

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name} on {self.on_relation}"


_REGISTERED = """
SELECT o.object_id, o.kind, o.object_schema::text, o.object_name::text,
       CASE WHEN in_its_schema THEN o.object_schema ELSE m.table_schema END::text,
       CASE WHEN in_its_schema THEN substr(o.on_relation, length(o.object_schema::text) + 2)
            ELSE m.table_name END::text
FROM tenant_migration.created_objects AS o JOIN tenant_migration.managed_tables AS m USING (table_id)
CROSS JOIN LATERAL (SELECT starts_with(o.on_relation, o.object_schema || '.')) AS placed (in_its_schema)
WHERE o.table_id = %s AND o.kind = ANY (%s) AND o.dropped_at IS NULL
ORDER BY o.object_id"""


def registered(connection: psycopg.Connection, table_id: int, *kinds: Kind) -> list[Registered]:
    """Return what is registered for a table and not dropped, oldest first; only of these kinds."""
    rows = connection.execute(_REGISTERED, (table_id, list(kinds))).fetchall()
    return [
        Registered(number, kind, schema, name, TableName(on_schema, on_name))
        for number, kind, schema, name, on_schema, on_name in rows
    ]


def mark_dropped(connection: psycopg.Connection, object_id: int) -> None:
    """Note that the object is gone. May be part of a transaction."""
    connection.execute(
        "UPDATE tenant_migration.created_objects SET dropped_at = coalesce(dropped_at, clock_timestamp())"
        " WHERE object_id = %s",
        (object_id,),
    )
