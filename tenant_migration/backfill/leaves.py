"""The tables that hold the rows, found anew by every run, since partitions come and go."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tenant_migration.catalog.model import TableName
from tenant_migration.errors import PlanOutdated, Refused
from tenant_migration.planning.model import TablePlan


@dataclass(frozen=True)
class Leaf:
    """A table, or a partition at the lowest level."""

    oid: int
    name: TableName
    filenode: int
    pages: int


_LEAVES = """
SELECT c.oid, n.nspname::text, c.relname::text, coalesce(pg_relation_filenode(c.oid), 0)::int8,
       pg_relation_size(c.oid::regclass) / current_setting('block_size')::int8, c.relkind::text,
       row_security_active(c.oid)
FROM pg_class AS root JOIN pg_namespace AS ns ON ns.oid = root.relnamespace
CROSS JOIN LATERAL (
    SELECT tree.relid FROM pg_partition_tree(root.oid) AS tree WHERE tree.isleaf
    UNION SELECT root.oid WHERE root.relkind <> 'p') AS part (oid)
JOIN pg_class AS c ON c.oid = part.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE ns.nspname = %s AND root.relname = %s ORDER BY c.oid"""


def read_leaves(connection: psycopg.Connection, table: TablePlan) -> list[Leaf]:
    """Return the leaves of a table, in order of oid.

    Raises:
        PlanOutdated: the table is gone.
        Refused: row security would hide rows from this role, or a partition is foreign.
    """
    rows = connection.execute(_LEAVES, (table.schema_name, table.table_name)).fetchall()
    if not rows and not table.partitioned:
        raise PlanOutdated(
            f"table {table.qualified_name} is no longer there; write a new plan (`plan --write`)"
        )
    leaves = []
    for oid, schema, name, filenode, pages, kind, filtered in rows:
        leaf = TableName(schema, name)
        if filtered:
            raise Refused(
                f"{leaf}: row security applies to role {connection.info.user}, which would see and change a "
                "part of the rows only. Connect as a role with BYPASSRLS, or as the owner where "
                "it is not forced"
            )
        if kind != "r":
            raise Refused(
                f"{leaf} is no ordinary table (kind {kind!r}): a foreign partition cannot be migrated"
            )
        leaves.append(Leaf(oid, leaf, filenode, pages))
    return leaves


_BLOCKS_HOT = """
SELECT EXISTS (
    SELECT FROM pg_index AS i
    JOIN pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_am AS am ON am.oid = ic.relam
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = %s AND a.attnum > 0
    WHERE i.indrelid = %s::oid
      AND NOT (am.amname = 'brin' AND current_setting('server_version_num')::int4 >= 160000)
      AND (a.attnum = ANY (i.indkey::int2[])
           OR EXISTS (SELECT FROM pg_depend AS d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                      AND d.refobjsubid = a.attnum)))"""


def organization_is_indexed(connection: psycopg.Connection, table: TablePlan, leaf: Leaf) -> bool:
    """Say whether any index of the leaf uses the organization column, in key, expression or predicate.

    Then no update of it can be HOT.
    """
    row = connection.execute(_BLOCKS_HOT, (table.organization_column, leaf.oid)).fetchone()
    return bool(row and row[0])
