"""Reads the logical-replication publications that carry updates, and why some refuse every update."""

from __future__ import annotations

from typing import Any

import psycopg

from tenant_migration.catalog.model import Publication

# For all tables, by table (its partitions are published with it), or by schema. A column list keeps a column
# that is added later out of the replicas. PostgreSQL refuses every UPDATE (42P10), whatever it sets, of a
# table whose row filter uses a column that is not in the replica identity, or whose column list leaves one of
# the replica identity's columns out; it finds out with the first row.
_PUBLICATIONS = """
WITH members AS (
    SELECT c.oid, c.relname, c.relkind, c.relnamespace, c.relpersistence, c.relreplident,
           coalesce(pg_partition_root(c.oid), c.oid)::oid AS root,
           ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) AS k (number)
                   JOIN pg_attribute a ON a.attnum = k.number
                  WHERE a.attrelid = i.indrelid AND i.indrelid = c.oid
                    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)
               AS identity
      FROM pg_class c
     WHERE coalesce(pg_partition_root(c.oid), c.oid) = ANY (%(oids)s::oid[])
),
listed AS (
    SELECT m.root, m.relname, m.relkind, m.relreplident, m.identity, p.pubname,
           r.prattrs IS NOT NULL AS has_list, r.prqual IS NOT NULL AS has_filter,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                  WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[])) AS columns,
           ARRAY(SELECT DISTINCT a.attname::text
                   FROM regexp_matches(r.prqual::text, ':varattno ([0-9]+)', 'g') AS used
                   JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = used[1]::int2) AS filtered
      FROM pg_publication p
      JOIN pg_publication_rel r ON r.prpubid = p.oid
      JOIN members m ON m.oid = r.prrelid OR r.prrelid IN (SELECT pg_partition_ancestors(m.oid))
     WHERE p.pubupdate
)
SELECT m.root::bigint, p.pubname::text, false, NULL
  FROM pg_publication p CROSS JOIN members m
 WHERE p.pubupdate AND p.puballtables AND m.relpersistence = 'p'
UNION
SELECT root::bigint, pubname::text, bool_or(has_list),
       min(CASE
           WHEN relkind <> 'r' THEN NULL
           WHEN has_filter AND relreplident <> 'f' AND NOT filtered <@ identity THEN
               format('the row filter of %%s uses %%s, not in the replica identity', relname,
                      (SELECT string_agg(name, ', ' ORDER BY name) FROM unnest(filtered) AS name
                        WHERE name <> ALL (identity)))
           WHEN has_list AND relreplident = 'f' THEN
               format('%%s has a column list, and its replica identity is FULL', relname)
           WHEN has_list AND NOT identity <@ columns THEN
               format('the column list of %%s leaves out %%s of the replica identity', relname,
                      (SELECT string_agg(name, ', ' ORDER BY name) FROM unnest(identity) AS name
                        WHERE name <> ALL (columns))) END)
  FROM listed GROUP BY root, pubname
UNION
SELECT m.root::bigint, p.pubname::text, false, NULL
  FROM pg_publication p
  JOIN pg_publication_namespace s ON s.pnpubid = p.oid
  JOIN members m ON m.relnamespace = s.pnnspid
 WHERE p.pubupdate AND m.relpersistence = 'p'
 ORDER BY 1, 2
"""


def read_publications(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Publication]]:
    """Read, for each table, the publications that carry its updates."""
    publications: dict[int, list[Publication]] = {}
    for oid, *facts in connection.execute(_PUBLICATIONS, {"oids": oids}):
        publications.setdefault(oid, []).append(Publication(*facts))
    return publications
