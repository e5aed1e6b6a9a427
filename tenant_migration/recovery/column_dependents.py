"""What would break, or go silently with it, if the organization column were dropped.

`DROP COLUMN` refuses for views, policies and generated columns only; indexes, constraints and statistics of
the application go without a word, and a trigger function that names the column fails at the next write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import psycopg
from psycopg import sql

from tenant_migration.backfill.structure.created_objects import Registered
from tenant_migration.planning.model import TablePlan

# A partition's copy of something (index, constraint, trigger) is what its parent is: `origin` is the topmost.
_DEPENDENTS = """
WITH RECURSIVE tree AS (
    SELECT %(table)s::regclass::oid AS oid
    UNION SELECT relid::oid FROM pg_partition_tree(%(table)s::regclass)),
direct AS (
    SELECT d.classid, d.objid
    FROM tree
    JOIN pg_attribute AS a ON a.attrelid = tree.oid AND a.attname = %(column)s AND NOT a.attisdropped
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                       AND d.refobjsubid = a.attnum),
origins AS (
    SELECT DISTINCT classid, objid, objid AS origin, 0 AS height FROM direct
    UNION ALL
    SELECT o.classid, o.objid, up.parent, o.height + 1
    FROM origins AS o
    CROSS JOIN LATERAL (
        SELECT inhparent FROM pg_inherits
        WHERE o.classid = 'pg_class'::regclass AND inhrelid = o.origin
        UNION ALL
        SELECT conparentid FROM pg_constraint
        WHERE o.classid = 'pg_constraint'::regclass AND oid = o.origin AND conparentid <> 0
        UNION ALL
        SELECT k.oid FROM pg_constraint AS own
        JOIN pg_inherits AS i ON i.inhrelid = own.conrelid
        JOIN pg_constraint AS k ON k.conrelid = i.inhparent AND k.conname = own.conname
        WHERE o.classid = 'pg_constraint'::regclass AND own.oid = o.origin AND own.coninhcount > 0
          AND own.conparentid = 0
        UNION ALL
        SELECT tgparentid FROM pg_trigger
        WHERE o.classid = 'pg_trigger'::regclass AND oid = o.origin AND tgparentid <> 0) AS up (parent)),
topmost AS (
    SELECT DISTINCT ON (classid, objid) classid, origin FROM origins ORDER BY classid, objid, height DESC)
SELECT DISTINCT
       CASE o.classid WHEN 'pg_class'::regclass THEN 'index'
                      WHEN 'pg_trigger'::regclass THEN 'trigger'
                      WHEN 'pg_constraint'::regclass
                      THEN CASE k.contype WHEN 'f' THEN 'foreign_key' ELSE 'constraint' END END,
       n.nspname::text, relation.relname::text, coalesce(c.relname, k.conname, t.tgname)::text,
       CASE WHEN rule.ev_class IS NOT NULL AND NOT EXISTS (SELECT FROM tree WHERE tree.oid = rule.ev_class)
            THEN pg_describe_object('pg_class'::regclass, rule.ev_class, 0)
            ELSE pg_describe_object(o.classid, o.origin, 0) END AS description
FROM topmost AS o
LEFT JOIN pg_class AS c ON o.classid = 'pg_class'::regclass AND c.oid = o.origin
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_constraint AS k ON o.classid = 'pg_constraint'::regclass AND k.oid = o.origin
LEFT JOIN pg_trigger AS t ON o.classid = 'pg_trigger'::regclass AND t.oid = o.origin
LEFT JOIN pg_rewrite AS rule ON o.classid = 'pg_rewrite'::regclass AND rule.oid = o.origin
LEFT JOIN pg_class AS relation ON relation.oid = coalesce(i.indrelid, k.conrelid, t.tgrelid)
LEFT JOIN pg_namespace AS n ON n.oid = relation.relnamespace
ORDER BY description"""

# A function's body is text to PostgreSQL, so the column is looked for as a whole word: in functions of this
# table's triggers, and in those of other tables' triggers that name this table too.
_TRIGGER_FUNCTIONS = """
SELECT n.nspname::text, c.relname::text, t.tgname::text,
       format('trigger %%s on %%s.%%s: its function %%s names the column',
              t.tgname, n.nspname, c.relname, p.oid::regprocedure),
       p.prosrc, c.oid = ANY (ARRAY(SELECT relid::oid FROM pg_partition_tree(%(table)s::regclass)
                                    UNION SELECT %(table)s::regclass::oid))
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
  AND p.pronamespace <> (SELECT oid FROM pg_namespace WHERE nspname = 'tenant_migration')
  AND position(lower(%(column)s) IN lower(p.prosrc)) > 0
ORDER BY 1, 2, 3"""

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def dependents_of_column(
    connection: psycopg.Connection, table: TablePlan, ours: Iterable[Registered]
) -> list[str]:
    """Return what depends on the organization column and was not made by us, in words.

    Args:
        connection: to the database.
        table: the table; its column exists.
        ours: what we made on it and its partitions.
    """
    made = {(item.kind, item.on_relation.schema, item.on_relation.name, item.name) for item in ours}
    parameters = {
        "table": sql.Identifier(table.schema_name, table.table_name).as_string(connection),
        "column": table.organization_column,
    }
    found = [
        description
        for kind, schema, relation, name, description in connection.execute(_DEPENDENTS, parameters)
        if (kind, schema, relation, name) not in made
    ]
    for schema, relation, name, description, source, is_here in connection.execute(
        _TRIGGER_FUNCTIONS, parameters
    ):
        if ("trigger", schema, relation, name) in made:
            continue
        body = _COMMENT.sub(" ", source)
        if _names(body, table.organization_column) and (is_here or _names(body, table.table_name)):
            found.append(description)
    return list(dict.fromkeys(found))


def _names(body: str, name: str) -> bool:
    """Say whether a function's body names this as a whole word; names without quotes have no case."""
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", body, re.IGNORECASE) is not None
