"""Reads indexes, also those of constraints."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Column, Index

_SUMMARIZING_SINCE = 160000  # BRIN does not prevent HOT updates from PostgreSQL 16 on

_INDEXES = """
SELECT i.indrelid::bigint AS table_oid, ic.relname::text AS name, m.amname::text AS method,
       i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AS is_valid,
       i.indimmediate AS is_immediate, i.indpred IS NOT NULL AS is_partial,
       pg_get_indexdef(i.indexrelid) AS definition,
       ARRAY(SELECT coalesce(a.attname::text, '')
               FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, position)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number <> 0
              WHERE k.position <= i.indnkeyatts
              ORDER BY k.position) AS columns,
       ARRAY(SELECT a.attname::text
               FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND a.attnum > 0
                AND (a.attnum = ANY (i.indkey::int2[])
                     OR a.attnum IN (SELECT d.refobjsubid
                                       FROM pg_depend d
                                      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid))
              ORDER BY a.attnum) AS mentions
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_am m ON m.oid = ic.relam
 WHERE i.indrelid = ANY (%(oids)s::oid[]) AND i.indislive
 ORDER BY i.indrelid, ic.relname
"""


def read_indexes(
    connection: psycopg.Connection[Any], oids: list[int], version: int
) -> dict[int, list[Index]]:
    """Read the indexes of these tables and leaves by oid; invalid ones too, since writes maintain them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_INDEXES, {"oids": oids}).fetchall()
    indexes: dict[int, list[Index]] = {}
    for row in rows:
        indexes.setdefault(row["table_oid"], []).append(
            Index(
                name=row["name"],
                columns=tuple(row["columns"]),
                mentions=tuple(row["mentions"]),
                unique=row["is_unique"],
                primary=row["is_primary"],
                valid=row["is_valid"],
                partial=row["is_partial"],
                method=row["method"],
                summarizing=row["method"] == "brin" and version >= _SUMMARIZING_SINCE,
                definition=row["definition"],
                immediate=row["is_immediate"],
            )
        )
    return indexes


def row_identity(indexes: list[Index], columns: list[Column]) -> tuple[str, ...]:
    """Return the columns that tell two rows apart: the primary key, else the narrowest unique NOT NULL index.

    Such an index must be valid, whole (no predicate), without expressions, and checked at once; else a moment
    with two equal rows is legal.
    """
    primary = next((index for index in indexes if index.primary and index.valid), None)
    if primary:
        return primary.columns
    never_null = {column.name for column in columns if column.not_null}
    candidates = [
        index
        for index in indexes
        if index.unique
        and index.valid
        and index.immediate
        and not index.partial
        and never_null.issuperset(index.columns)
    ]
    best = min(candidates, key=lambda index: (len(index.columns), index.name), default=None)
    return best.columns if best else ()
