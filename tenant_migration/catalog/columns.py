"""Reads columns and their types."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Column

_COLUMNS = """
SELECT a.attrelid::bigint AS table_oid, a.attname::text AS name, a.attnum::int AS number,
       a.atttypid::bigint AS type_oid, format_type(a.atttypid, a.atttypmod) AS type_sql,
       -- PostgreSQL 18 knows NOT NULL constraints that are NOT VALID: rows may be NULL all the same
       a.attnotnull AND NOT EXISTS (
           SELECT FROM pg_constraint k
            WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated
              AND k.conkey[1] = a.attnum
       ) AS not_null,
       a.attgenerated <> '' AS generated, a.attidentity::text AS identity,
       a.attinhcount > 0 AS inherited,
       pg_get_expr(d.adbin, d.adrelid) AS default_sql,
       CASE WHEN a.attgenerated <> '' THEN ARRAY(
           SELECT s.attname::text
             FROM pg_depend p
             JOIN pg_attribute s ON s.attrelid = p.refobjid AND s.attnum = p.refobjsubid
            WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
              AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
              AND p.refobjsubid <> a.attnum
            ORDER BY 1
       ) ELSE '{}' END AS generated_from
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

_TYPES = """
WITH RECURSIVE used AS (
    SELECT DISTINCT a.atttypid AS oid
      FROM pg_attribute a
     WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT next.oid
      FROM used
      JOIN pg_type t ON t.oid = used.oid
      CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS next (oid)
     WHERE next.oid <> 0
), classes AS (
    SELECT c.opcintype AS type_oid, m.amname
      FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod
     WHERE c.opcdefault AND m.amname IN ('hash', 'btree')
)
SELECT t.oid::bigint AS oid, n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind,
       t.typbasetype::bigint AS base_oid,
       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::bigint AS element_oid,
       supported.hash, supported.btree,
       coalesce((
           SELECT s.nspname::text
             FROM pg_opclass c
             JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
             JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3
                           AND a.amoplefttype = t.oid AND a.amoprighttype = t.oid
             JOIN pg_operator o ON o.oid = a.amopopr AND o.oprname = '='
             JOIN pg_namespace s ON s.oid = o.oprnamespace
            WHERE c.opcdefault AND c.opcintype = t.oid
       ), 'pg_catalog') AS equality_schema
  FROM used
  JOIN pg_type t ON t.oid = used.oid
  JOIN pg_namespace n ON n.oid = t.typnamespace
  CROSS JOIN LATERAL (
      SELECT coalesce(bool_or(amname = 'hash'), false) AS hash,
             coalesce(bool_or(amname = 'btree'), false) AS btree
        FROM classes
       WHERE type_oid = t.oid
          OR type_oid IN (SELECT casttarget FROM pg_cast
                           WHERE castsource = t.oid AND castmethod = 'b' AND castcontext = 'i')
          OR (type_oid = 'anyenum'::regtype AND t.typtype = 'e')
          OR (type_oid = 'anyrange'::regtype AND t.typtype = 'r')
          OR (type_oid = 'anymultirange'::regtype AND t.typtype = 'm')
  ) AS supported
"""


class _Types:
    """The types in use, with what can be done with their values."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = {int(row["oid"]): row for row in rows}

    def __getitem__(self, oid: int) -> dict[str, Any]:
        return self._rows[oid]

    def base(self, oid: int) -> dict[str, Any]:
        """Return the type under a domain, however many domains deep."""
        row = self._rows[oid]
        while row["kind"] == "d":
            row = self._rows[row["base_oid"]]
        return row

    def supports(self, oid: int, method: str) -> bool:
        """Say whether values have a default operator class of this index method; arrays ask elements."""
        row = self.base(oid)
        return self.supports(row["element_oid"], method) if row["element_oid"] else bool(row[method])


def read_columns(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Column]]:
    """Read the live columns of these tables, in order."""
    with connection.cursor(row_factory=dict_row) as cursor:
        types = _Types(cursor.execute(_TYPES, {"oids": oids}).fetchall())
        rows = cursor.execute(_COLUMNS, {"oids": oids}).fetchall()
    columns: dict[int, list[Column]] = {}
    for row in rows:
        own, base = types[row["type_oid"]], types.base(row["type_oid"])
        columns.setdefault(row["table_oid"], []).append(
            Column(
                name=row["name"],
                number=row["number"],
                type_schema=own["schema"],
                type_name=own["name"],
                type_sql=row["type_sql"],
                base_type=f"{base['schema']}.{base['name']}",
                not_null=row["not_null"],
                generated=row["generated"],
                identity={"a": "always", "d": "by default"}.get(row["identity"], ""),  # type: ignore[arg-type]
                has_default=row["default_sql"] is not None and not row["generated"],
                is_array=bool(base["element_oid"]),
                hashable=types.supports(row["type_oid"], "hash"),
                comparable=types.supports(row["type_oid"], "btree"),
                equality_schema=base["equality_schema"],
                default_sql=row["default_sql"],
                generated_from=tuple(row["generated_from"]),
                inherited=row["inherited"],
            )
        )
    return columns
