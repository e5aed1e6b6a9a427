"""Columns that a reset sets to what they are, so that PostgreSQL searches no index for old versions.

A row whose organization is indexed gets new entries in all indexes. Before a page of an index whose columns
the UPDATE does not name is split, PostgreSQL (14 and later) looks among its entries for versions that nobody
sees any more (`index_unchanged_by_update` in execIndexing.c: bottom-up deletion). In a pass over all rows it
finds too few to keep pages from splitting: with 1,000,000 rows and five indexes they grow by the same, within
2 %, and a fifth of the time goes there.

Values do not change: rows are locked, logged and replicated by what differs (`heap_update` compares), foreign
keys compare too, and a row that was changed meanwhile is taken as it then is.
"""

from __future__ import annotations

import psycopg

from tenant_migration.planning.model import TablePlan

# Never named: what the application could notice or what the server refuses. A column of an UPDATE OF trigger
# would let it fire; a column of a unique index would lock the row harder before a BEFORE trigger sees it; one
# that a generated column depends on would be computed again.
_UNCHANGED = """
WITH given AS (
    SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema_name)s AND c.relname = %(table_name)s
      AND c.relkind = 'r' AND NOT c.relhasrules AND NOT c.relispartition),
triggers AS (
    SELECT g.tgattr::int2[] AS columns, g.tgtype & 3 = 3 AS before_each_row
    FROM pg_trigger AS g WHERE g.tgrelid = (SELECT oid FROM given) AND NOT g.tgisinternal
      AND g.tgtype & 16 > 0),
indexes AS (
    SELECT i.indexrelid, i.indkey::int2[] AS columns, i.indnkeyatts, i.indisunique
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
    WHERE i.indrelid = (SELECT oid FROM given) AND m.amname = 'btree'),
nameable AS (
    SELECT a.attnum, a.attname::text AS name FROM pg_attribute AS a
    WHERE a.attrelid = (SELECT oid FROM given) AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname <> %(organization_column)s AND a.attidentity <> 'a' AND a.attgenerated = ''
      AND has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
      AND NOT EXISTS (SELECT FROM triggers AS g WHERE a.attnum = ANY (g.columns))
      AND NOT EXISTS (SELECT FROM triggers AS g JOIN indexes AS i ON g.before_each_row
                      WHERE i.indisunique AND a.attnum = ANY (i.columns))
      AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_attrdef AS f ON f.oid = d.objid
                      JOIN pg_attribute AS g ON g.attrelid = f.adrelid AND g.attnum = f.adnum
                      WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
                        AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND g.attgenerated <> ''))
SELECT DISTINCT (
    SELECT n.name FROM unnest(i.columns[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, position)
    JOIN nameable AS n USING (attnum) ORDER BY k.position LIMIT 1)
FROM indexes AS i
WHERE EXISTS (SELECT FROM indexes AS o JOIN pg_attribute AS a ON a.attnum = ANY (o.columns)
              WHERE a.attrelid = (SELECT oid FROM given) AND a.attname = %(organization_column)s)
ORDER BY 1"""


def unchanged_columns(connection: psycopg.Connection, table: TablePlan) -> tuple[str, ...]:
    """Return a column of each index that a reset may name, where the organization is indexed at all.

    None of a partitioned table: a column could be one that places its rows.
    """
    rows = connection.execute(
        _UNCHANGED,
        {
            "schema_name": table.schema_name,
            "table_name": table.table_name,
            "organization_column": table.organization_column,
        },
    ).fetchall()
    return tuple(row[0] for row in rows if row[0] is not None)
