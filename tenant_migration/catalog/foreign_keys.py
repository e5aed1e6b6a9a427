"""Reads declared foreign keys."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import ForeignKey, TableName

_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}

# Columns that only newer servers have (conperiod, conenforced of 18) are read through to_jsonb.
_FOREIGN_KEYS = """
WITH declared AS (
    SELECT k.*, to_jsonb(k) AS everything,
           coalesce(pg_partition_root(k.conrelid), k.conrelid)::oid AS child_root,
           coalesce(pg_partition_root(k.confrelid), k.confrelid)::oid AS parent_root
      FROM pg_constraint k
     WHERE k.contype = 'f' AND k.conparentid = 0
)
SELECT k.conname::text AS name, cn.nspname::text AS child_schema, c.relname::text AS child_name,
       pn.nspname::text AS parent_schema, p.relname::text AS parent_name,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, position)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
              ORDER BY u.position) AS child_columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, position)
               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number
              ORDER BY u.position) AS parent_columns,
       k.convalidated AND coalesce((k.everything ->> 'conenforced')::boolean, true) AS validated,
       k.condeferrable AS is_deferrable, k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete,
       k.child_root = k.conrelid AND k.parent_root = k.confrelid
           AND NOT coalesce((k.everything ->> 'conperiod')::boolean, false) AS whole
  FROM declared k
  JOIN pg_class c ON c.oid = k.child_root
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = k.parent_root
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.child_root = ANY (%(oids)s::oid[]) OR k.parent_root = ANY (%(oids)s::oid[])
 ORDER BY 2, 3, 1
"""


def read_foreign_keys(connection: psycopg.Connection[Any], oids: list[int]) -> tuple[ForeignKey, ...]:
    """Read the foreign keys from and to these tables; those of partitions under the root's name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_FOREIGN_KEYS, {"oids": oids}).fetchall()
    return tuple(
        ForeignKey(
            name=row["name"],
            child=TableName(row["child_schema"], row["child_name"]),
            child_columns=tuple(row["child_columns"]),
            parent=TableName(row["parent_schema"], row["parent_name"]),
            parent_columns=tuple(row["parent_columns"]),
            validated=row["validated"],
            deferrable=row["is_deferrable"],
            on_update=_ACTIONS[row["on_update"]],
            on_delete=_ACTIONS[row["on_delete"]],
            whole=row["whole"],
        )
        for row in rows
    )
