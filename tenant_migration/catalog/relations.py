"""Reads what holds rows: ordinary tables, partition trees, foreign tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import TableName

PRIVATE_SCHEMA = "tenant_migration"
INTERFACE_TABLES = ("tenant_org_mappings", "migration_audit_log")

_RELATIONS = r"""
SELECT c.oid::bigint AS oid,
       coalesce(pg_partition_root(c.oid), c.oid)::oid::bigint AS root_oid,
       ARRAY(SELECT a.attname::text
               FROM pg_partitioned_table p
               JOIN pg_attribute a ON a.attrelid = p.partrelid
              WHERE p.partrelid = c.oid
                AND (a.attnum = ANY (p.partattrs::int2[])
                     -- a key by expression: its columns are in its text alone
                     OR (p.partexprs IS NOT NULL
                         AND pg_get_partkeydef(c.oid)
                             ~ format('\m%%s\M', regexp_replace(a.attname, '\W', '.', 'g'))))
                AND a.attnum > 0
              ORDER BY a.attnum) AS partition_key,
       n.nspname::text AS schema, c.relname::text AS name,
       c.relkind::text AS kind, c.relpersistence::text AS persistence,
       pg_get_userbyid(c.relowner)::text AS owner,
       NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS inherits,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS is_inherited,
       c.relrowsecurity AS row_security, c.relforcerowsecurity AS row_security_forced,
       row_security_active(c.oid) AS row_security_active,
       c.relreplident::text AS replica_identity,
       CASE c.relreplident
            WHEN 'f' THEN true
            WHEN 'n' THEN false
            WHEN 'd' THEN EXISTS (SELECT FROM pg_index i
                                  WHERE i.indrelid = c.oid AND i.indisprimary
                                    AND i.indisvalid AND i.indimmediate)
            ELSE EXISTS (SELECT FROM pg_index i
                         WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)
       END AS has_replica_identity,
       c.reltuples::bigint AS row_estimate,
       coalesce(CASE WHEN c.relkind = 'r' THEN pg_relation_filenode(c.oid) END, 0)::bigint AS relfilenode,
       coalesce(CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid::regclass) END, 0)::bigint
           AS heap_bytes,
       coalesce(CASE WHEN c.relkind = 'r' THEN pg_total_relation_size(c.oid::regclass) END, 0)::bigint
           AS total_bytes,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS can_read,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'UPDATE') AS can_write,
       has_table_privilege(c.oid, 'REFERENCES') AS can_reference,
       has_schema_privilege(n.oid, 'CREATE') AS can_create_in_schema,
       pg_has_role(c.relowner, 'USAGE') AS is_owner
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'f')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('information_schema', %(private_schema)s)
   AND NOT (n.nspname = %(interface_schema)s AND c.relname = ANY (%(interface_tables)s))
   AND (%(roots)s::oid[] IS NULL OR coalesce(pg_partition_root(c.oid), c.oid) = ANY (%(roots)s::oid[]))
 ORDER BY c.oid
"""

_ROOTS = """
SELECT c.oid::bigint
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN unnest(%(schemas)s::text[], %(names)s::text[]) AS asked (schema, name)
       ON asked.schema = n.nspname AND asked.name = c.relname
"""


@dataclass(frozen=True)
class Relation:
    """One table with what is below it, before columns and the rest are attached."""

    row: dict[str, Any]
    leaf_rows: tuple[dict[str, Any], ...]
    member_oids: tuple[int, ...]
    """Oids of the root and of every partition, those between root and leaves too: triggers can be on any."""
    partition_key: tuple[str, ...]

    @property
    def oid(self) -> int:
        """Oid of the root."""
        return int(self.row["oid"])


def read_relations(
    connection: psycopg.Connection[Any], *, interface_schema: str, only: Collection[TableName] | None = None
) -> list[Relation]:
    """Read every table that the application could own, partitions gathered under their root.

    Args:
        connection: inside the snapshot, with `pg_catalog` alone on the search path.
        interface_schema: where our own two interface tables are left out.
        only: these tables alone; None: all.
    """
    roots = None
    if only is not None:
        names = sorted(only)
        found = connection.execute(
            _ROOTS, {"schemas": [name.schema for name in names], "names": [name.name for name in names]}
        )
        roots = [row[0] for row in found]
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            _RELATIONS,
            {
                "private_schema": PRIVATE_SCHEMA,
                "interface_schema": interface_schema,
                "interface_tables": list(INTERFACE_TABLES),
                "roots": roots,
            },
        ).fetchall()
    leaves: dict[int, list[dict[str, Any]]] = {}
    members: dict[int, list[int]] = {}
    partition_keys: dict[int, set[str]] = {}
    for row in rows:
        members.setdefault(row["root_oid"], []).append(row["oid"])
        partition_keys.setdefault(row["root_oid"], set()).update(row["partition_key"])
        if row["kind"] != "p":
            leaves.setdefault(row["root_oid"], []).append(row)
    return [
        Relation(
            row,
            tuple(leaves.get(row["oid"], ())),
            tuple(members[row["oid"]]),
            tuple(sorted(partition_keys[row["oid"]])),
        )
        for row in rows
        if row["oid"] == row["root_oid"]
    ]


def estimated_rows(leaf_rows: Collection[dict[str, Any]]) -> int:
    """Return the sum of the statistics; -1 when a leaf with pages was never analysed."""
    if any(leaf["row_estimate"] < 0 and leaf["heap_bytes"] > 0 for leaf in leaf_rows):
        return -1
    return sum(max(0, leaf["row_estimate"]) for leaf in leaf_rows)
