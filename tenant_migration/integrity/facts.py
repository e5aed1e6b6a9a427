"""Reads what the SQL builders must know of the tables at the moment of the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.integrity.contents import NO_CONTENTS, read_contents
from tenant_migration.integrity.scope import MIGRATED_STATES, TableFacts, UniqueIndex
from tenant_migration.integrity.sources.tables import mappings
from tenant_migration.planning.model import Plan, Relation, TablePlan

Connection = psycopg.Connection[tuple[Any, ...]]

_TABLES = """
SELECT w.number, m.table_id, a.attnum IS NOT NULL, j.oid IS NOT NULL, coalesce(c.relkind = 'p', false),
       ARRAY(SELECT l.attname::text FROM pg_attribute AS l
             WHERE l.attrelid = c.oid AND l.attnum > 0 AND NOT l.attisdropped ORDER BY l.attnum),
       r.pairs, r.completed, r.row_count, r.kept
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(organization_columns)s::text[])
     WITH ORDINALITY AS w(table_schema, table_name, organization_column, number)
LEFT JOIN pg_namespace AS n ON n.nspname = w.table_schema
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.organization_column AND NOT a.attisdropped
LEFT JOIN tenant_migration.managed_tables AS m
       ON m.table_schema = w.table_schema AND m.table_name = w.table_name
LEFT JOIN pg_class AS j
       ON j.relnamespace = 'tenant_migration'::regnamespace AND j.relname = 'journal_' || m.table_id
LEFT JOIN LATERAL (
    SELECT count(*) AS pairs, count(*) FILTER (WHERE s.state = 'completed') AS completed,
           coalesce(sum(s.rows_migrated + s.rows_kept), 0)::bigint AS row_count,
           coalesce(sum(s.rows_kept), 0)::bigint AS kept
    FROM tenant_migration.table_states AS s JOIN tenant_migration.tenants AS t USING (tenant_number)
    WHERE s.table_id = m.table_id AND s.state = ANY (%(states)s::text[])
      AND (%(tenants)s::text[] IS NULL OR t.tenant_id = ANY (%(tenants)s::text[]))
) AS r ON true
ORDER BY w.number
"""

# A partition may have one of its own. A WITHOUT OVERLAPS index is unique too, but by its operators, as that
# of an exclusion constraint. Every key column and expression, as the server prints it; and all but the
# column that is asked about. An index carries it as a key column, or in an expression or its predicate:
# then the index depends on it.
_UNIQUE_INDEXES = """
SELECT w.number, c.relname, k.expressions, k.others, pg_get_expr(x.indpred, x.indrelid),
       NOT x.indnullsnotdistinct, q.operators,
       CASE WHEN r.oid <> o.oid THEN format('%%I.%%I', rn.nspname, r.relname) END
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(columns)s::text[])
     WITH ORDINALITY AS w(table_schema, table_name, column_name, number)
JOIN pg_namespace AS n ON n.nspname = w.table_schema
JOIN pg_class AS o ON o.relnamespace = n.oid AND o.relname = w.table_name
JOIN pg_class AS r ON r.oid = o.oid OR r.oid IN (SELECT relid FROM pg_partition_tree(o.oid))
JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.column_name AND NOT a.attisdropped
JOIN pg_index AS x ON x.indrelid = r.oid AND (x.indisunique OR x.indisexclusion)
 AND (r.oid = o.oid OR NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = x.indexrelid))
JOIN pg_class AS c ON c.oid = x.indexrelid
LEFT JOIN LATERAL (
    SELECT ARRAY(SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
                 FROM unnest(e.conexclop) WITH ORDINALITY AS u(operator, place)
                 JOIN pg_operator AS o ON o.oid = u.operator JOIN pg_namespace AS n ON n.oid = o.oprnamespace
                 ORDER BY u.place) AS operators
    FROM pg_constraint AS e WHERE e.conindid = x.indexrelid AND e.conexclop IS NOT NULL
) AS q ON true
CROSS JOIN LATERAL (
    SELECT array_agg(e.expression ORDER BY p.place) AS expressions,
           array_agg(e.expression ORDER BY p.place) FILTER (WHERE p.attribute <> a.attnum) AS others,
           bool_or(p.attribute = a.attnum) OR (
               (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL) AND EXISTS (
                   SELECT FROM pg_depend AS d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid
                     AND d.refobjsubid = a.attnum)) AS has_column
    FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS p(attribute, place)
    CROSS JOIN LATERAL (
        SELECT '(' || pg_get_indexdef(x.indexrelid, p.place::int, false) || ')') AS e(expression)
    WHERE p.place <= x.indnkeyatts
) AS k
WHERE k.has_column
ORDER BY w.number, c.relname
"""

_EQUALITIES = """
SELECT quoted_type, tenant_migration.equality_of(to_regtype(quoted_type)) FROM unnest(%s::text[]) AS
    t(quoted_type)
"""

_JOIN_CONDITION = """
SELECT tenant_migration.join_condition(
    format('%%I.%%I', %(child_schema)s::text, %(child_name)s::text)::regclass, %(child_columns)s::name[],
    format('%%I.%%I', %(parent_schema)s::text, %(parent_name)s::text)::regclass, %(parent_columns)s::name[])
"""


def read_facts(
    connection: Connection, tables: Sequence[TablePlan], tenants: Sequence[str] | None
) -> dict[str, TableFacts]:
    """Return the facts of these tables by `schema.table`."""
    organization_columns = [table.organization_column for table in tables]
    given = {
        "schemas": [table.schema_name for table in tables],
        "names": [table.table_name for table in tables],
        "organization_columns": organization_columns,
        "states": list(MIGRATED_STATES),
        "tenants": None if tenants is None else list(tenants),
    }
    tenant_indexes = _unique_indexes(connection, given, [table.tenant_column.name for table in tables])
    organization_indexes = _unique_indexes(connection, given, organization_columns)
    columns = [column for table in tables for column in (table.tenant_column, *table.key_columns)]
    types = sorted({column.quoted_type for column in columns})
    equality_by_type: dict[str, str] = dict(connection.execute(_EQUALITIES, [types]).fetchall())
    contents = read_contents(connection, tables)
    found = {}
    for (
        number,
        table_id,
        has_column,
        has_journal,
        is_partitioned,
        live_columns,
        *counts,
    ) in connection.execute(_TABLES, given):
        recorded_pairs, completed_pairs, recorded_rows, kept_rows = counts
        written = contents.get(tables[number - 1].qualified_name, NO_CONTENTS)
        found[tables[number - 1].qualified_name] = TableFacts(
            table_id=table_id,
            organization_column_exists=has_column,
            has_journal=has_journal,
            is_partitioned=is_partitioned,
            recorded_pairs=recorded_pairs,
            completed_pairs=completed_pairs,
            recorded_rows=recorded_rows,
            kept_rows=kept_rows,
            columns=tuple(live_columns or ()),
            unique_indexes=tuple(tenant_indexes.get(number, ())),
            organization_indexes=tuple(organization_indexes.get(number, ())),
            contents=written.forms,
            contents_missing=written.missing,
            runs_that_only_fill=written.runs_that_only_fill,
            equality_by_type=equality_by_type,
        )
    return found


def _unique_indexes(
    connection: Connection, given: Mapping[str, object], columns: Sequence[str]
) -> dict[int, list[UniqueIndex]]:
    """Return what keeps rows unique by this column of the table, by the table's place."""
    indexes: dict[int, list[UniqueIndex]] = {}
    rows = connection.execute(_UNIQUE_INDEXES, {**given, "columns": list(columns)})
    for number, name, expressions, others, predicate, nulls_distinct, operators, partition in rows:
        index = UniqueIndex(
            name,
            tuple(expressions),
            tuple(others or ()),
            predicate,
            nulls_distinct,
            tuple(operators or ()),
            partition,
        )
        indexes.setdefault(number, []).append(index)
    return indexes


def read_join_condition(
    connection: Connection, relation: Relation, child: TablePlan, parent: TablePlan
) -> str:
    """Return the condition that a row `c` of the child refers to a row `p` of the parent."""
    row = connection.execute(
        _JOIN_CONDITION,
        {
            "child_schema": child.schema_name,
            "child_name": child.table_name,
            "child_columns": list(relation.child_columns),
            "parent_schema": parent.schema_name,
            "parent_name": parent.table_name,
            "parent_columns": list(relation.parent_columns),
        },
    ).fetchone()
    if row is None:
        raise RuntimeError("SELECT of a function gave no row")
    return str(row[0])


def tenants_share_organizations(connection: Connection, plan: Plan) -> bool:
    """Return whether several tenants go to one organization."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} GROUP BY organization_id HAVING count(*) > 1)").format(
        mappings(plan.interface_schema)
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
