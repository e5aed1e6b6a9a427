"""Reads constraints that are no foreign keys: CHECK, what may be deferred, NOT NULL that is not validated.

Of partitions only those that they do not share with the table above them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Constraint, TableName

_CONSTRAINTS = """
SELECT k.conrelid::bigint AS table_oid, k.conname::text AS name, k.contype::text AS kind,
       k.condeferrable AS is_deferrable, k.convalidated AS validated,
       pg_get_constraintdef(k.oid) AS definition,
       n.nspname::text AS leaf_schema, c.relname::text AS leaf_name, c.relispartition AS is_leaf,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, position)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
              ORDER BY u.position) AS columns
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.conrelid = ANY (%(oids)s::oid[])
   AND NOT (c.relispartition AND (k.conparentid <> 0 OR k.coninhcount > 0))
   AND (k.contype IN ('c', 'u', 'p', 'x') OR (k.contype = 'n' AND NOT k.convalidated))
 ORDER BY k.conrelid, k.conname
"""
_KINDS = {"c": "check", "u": "unique", "p": "primary key", "x": "exclusion", "n": "not null"}


def read_constraints(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Constraint]]:
    """Read the constraints of these tables by oid."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_CONSTRAINTS, {"oids": oids}).fetchall()
    constraints: dict[int, list[Constraint]] = {}
    for row in rows:
        constraints.setdefault(row["table_oid"], []).append(
            Constraint(
                name=row["name"],
                kind=_KINDS[row["kind"]],  # type: ignore[arg-type]
                columns=tuple(row["columns"]),
                deferrable=row["is_deferrable"],
                validated=row["validated"],
                definition=row["definition"],
                on_leaf=TableName(row["leaf_schema"], row["leaf_name"]) if row["is_leaf"] else None,
            )
        )
    return constraints
