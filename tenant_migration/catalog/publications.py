"""Reads the logical-replication publications that carry updates."""

from __future__ import annotations

from typing import Any

import psycopg

# For all tables, by table (its partitions are published with it), or by schema. A column list keeps a column
# that is added later out of the replicas.
_PUBLICATIONS = """
WITH members AS (
    SELECT c.oid, c.relnamespace, c.relpersistence, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root
      FROM pg_class c
     WHERE coalesce(pg_partition_root(c.oid), c.oid) = ANY (%(oids)s::oid[])
)
SELECT m.root::bigint, p.pubname::text, false
  FROM pg_publication p CROSS JOIN members m
 WHERE p.pubupdate AND p.puballtables AND m.relpersistence = 'p'
UNION
SELECT m.root::bigint, p.pubname::text, r.prattrs IS NOT NULL
  FROM pg_publication p
  JOIN pg_publication_rel r ON r.prpubid = p.oid
  JOIN members m ON m.oid = r.prrelid
 WHERE p.pubupdate
UNION
SELECT m.root::bigint, p.pubname::text, false
  FROM pg_publication p
  JOIN pg_publication_namespace s ON s.pnpubid = p.oid
  JOIN members m ON m.relnamespace = s.pnnspid
 WHERE p.pubupdate AND m.relpersistence = 'p'
 ORDER BY 1, 2
"""


def read_publications(
    connection: psycopg.Connection[Any], oids: list[int]
) -> dict[int, list[tuple[str, bool]]]:
    """Read, for each table, the publications that carry its updates and whether each has a column list."""
    publications: dict[int, list[tuple[str, bool]]] = {}
    for oid, name, has_column_list in connection.execute(_PUBLICATIONS, {"oids": oids}):
        publications.setdefault(oid, []).append((name, has_column_list))
    return publications
