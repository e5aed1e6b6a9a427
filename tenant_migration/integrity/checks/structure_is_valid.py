"""Index and foreign key on the organization column: those that are there are valid, those recorded are there.

What is not built yet because rows are pending is not recorded as created, so it is not missed.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.catalog import table_and_partitions
from tenant_migration.integrity.verdict import first_examples, verdict

# Found on the table and its partitions, together with what we registered as created there.
_INDEXES = """
WITH relations AS (
    {relations}
), found AS (
    SELECT x.indexrelid AS oid FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = {organization_column} AND NOT a.attisdropped
    JOIN pg_index AS x ON x.indrelid = r.oid AND a.attnum = ANY (x.indkey::int2[])
), registered AS (
    SELECT r.object_schema, r.object_name, c.oid FROM tenant_migration.created_objects AS r
    LEFT JOIN pg_namespace AS n ON n.nspname = r.object_schema
    LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = r.object_name
    WHERE r.table_id = {table_id} AND r.kind = 'index' AND r.created_at IS NOT NULL AND r.dropped_at IS NULL
)
SELECT coalesce(found.oid::regclass::text, registered.object_schema || '.' || registered.object_name) AS
    example,
       coalesce(x.indisvalid AND x.indisready, false) AS is_valid
FROM found FULL JOIN registered ON registered.oid = found.oid
LEFT JOIN pg_index AS x ON x.indexrelid = coalesce(found.oid, registered.oid)
"""

_FOREIGN_KEYS = """
WITH relations AS (
    {relations}
), found AS (
    SELECT k.oid FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = {organization_column} AND NOT a.attisdropped
    JOIN pg_constraint AS k ON k.conrelid = r.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey)
), registered AS (
    SELECT r.on_relation, r.object_name, k.oid FROM tenant_migration.created_objects AS r
    LEFT JOIN (pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid
        = c.relnamespace)
           ON k.contype = 'f' AND k.conname = r.object_name AND n.nspname || '.' || c.relname = r.on_relation
    WHERE r.table_id = {table_id} AND r.kind = 'foreign_key' AND r.created_at IS NOT NULL AND r.dropped_at
        IS NULL
)
SELECT coalesce(k.conrelid::regclass::text || '.' || k.conname,
                registered.on_relation || '.' || registered.object_name) AS example,
       coalesce(k.convalidated, false) AS is_valid
FROM found FULL JOIN registered ON registered.oid = found.oid
LEFT JOIN pg_constraint AS k ON k.oid = coalesce(found.oid, registered.oid)
"""


def _objects(scope: TableScope, query: str) -> sql.Composed:
    return sql.SQL(query).format(
        relations=table_and_partitions(scope.table),
        organization_column=sql.Literal(scope.table.organization_column),
        table_id=sql.Literal(scope.facts.table_id),
    )


def _judge(objects: sql.Composed) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE NOT s.is_valid)"),
        source=sql.SQL("({}) AS s").format(objects),
        examples=first_examples(_invalid(objects)),
    )


def _invalid(objects: sql.Composed) -> sql.Composed:
    return sql.SQL("SELECT s.example FROM ({}) AS s WHERE NOT s.is_valid").format(objects)


INDEXES = TableCheck(
    name="indexes_valid",
    phase="post-migration",
    severity="warning",
    description="Indexes on the organization column that are INVALID or missing",
    recommendation="Run the migration of the table again: it builds what is missing.",
    examples_are_names=True,
    build=lambda scope: _judge(_objects(scope, _INDEXES)),
    wrong_rows=lambda scope: _invalid(_objects(scope, _INDEXES)),
    column=lambda scope: scope.table.organization_column,
)

FOREIGN_KEYS = TableCheck(
    name="foreign_keys_validated",
    phase="post-migration",
    severity="warning",
    description="Foreign keys on the organization column that are NOT VALID or missing",
    recommendation="Run the migration of the table again: it validates what is left, or says what stands "
    "against it.",
    examples_are_names=True,
    build=lambda scope: _judge(_objects(scope, _FOREIGN_KEYS)),
    wrong_rows=lambda scope: _invalid(_objects(scope, _FOREIGN_KEYS)),
    column=lambda scope: scope.table.organization_column,
)
