"""Keys inside of JSON columns that look like the tenant key: nothing migrates what is in there.

A look at some rows, never at all: no count of wrong rows comes from it, only which keys there are.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import Remark, Source, TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.tables import column, in_scope, table_name
from tenant_migration.integrity.verdict import first_examples, verdict
from tenant_migration.planning.model import ColumnRef

SAMPLED_ROWS = 1_000
"""Rows that are looked at in each table."""

_WHOLE_BELOW_ROWS = 10_000
"""Smaller tables are read from their beginning; larger ones here and there."""

_SAMPLED = """
sampled AS MATERIALIZED (SELECT {columns} FROM {table} AS t {sample} WHERE {in_scope} LIMIT {rows}),
found AS MATERIALIZED (
    SELECT k.column_name || '.' || k.key AS example, count(*) AS row_count
    FROM sampled AS s CROSS JOIN LATERAL ({keys}) AS k
    WHERE translate(lower(k.key), '_- ', '') = ANY ({names}::text[]) GROUP BY 1)
"""

# Of any object in the document. What json holds cannot always be had as jsonb: there only its own keys.
_KEYS_OF_JSONB = """
SELECT DISTINCT {name} AS column_name, o.key
FROM jsonb_path_query({column}, 'strict $.** ? (@.type() == "object")') AS v(object)
CROSS JOIN LATERAL jsonb_object_keys(v.object) AS o(key)
"""
_KEYS_OF_JSON = """
SELECT DISTINCT {name} AS column_name, o.key
FROM json_object_keys(CASE WHEN json_typeof({column}) = 'object' THEN {column} END) AS o(key)
"""


def _json_columns(scope: TableScope) -> list[ColumnRef]:
    types = ("pg_catalog.json", "pg_catalog.jsonb")
    return [found for found in scope.table.preserved_columns if found.base_type in types]


def _keys(found: ColumnRef) -> sql.Composed:
    query = _KEYS_OF_JSONB if found.base_type == "pg_catalog.jsonb" else _KEYS_OF_JSON
    return sql.SQL(query).format(name=sql.Literal(found.name), column=column("s", found.name))


def _names(scope: TableScope) -> list[str]:
    keys = {*scope.plan.tenant_key_columns, scope.table.tenant_column.name, "tenant_id", "tenant"}
    return sorted({key.lower().translate(str.maketrans("", "", "_- ")) for key in keys})


def _tables(scope: TableScope) -> sql.Composed:
    columns = _json_columns(scope)
    return sql.SQL(_SAMPLED).format(
        columns=sql.SQL(", ").join(column("t", found.name) for found in columns),
        table=table_name(scope),
        sample=_sample(scope),
        in_scope=in_scope(scope, "t"),
        rows=sql.Literal(SAMPLED_ROWS),
        keys=sql.SQL(" UNION ALL ").join(_keys(found) for found in columns),
        names=sql.Literal(_names(scope)),
    )


def _sample(scope: TableScope) -> sql.Composable:
    """Return pages from all over a large table, always the same ones; three times the rows needed."""
    rows = scope.table.estimated_rows
    if scope.tenants is not None or rows < _WHOLE_BELOW_ROWS:
        return sql.SQL("")
    percent = max(0.001, min(100.0, 300.0 * SAMPLED_ROWS / rows))
    return sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (1)").format(sql.Literal(percent))


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("WITH {} SELECT f.example, f.row_count FROM found AS f").format(_tables(scope))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM sampled)"),
        count=sql.SQL("count(*)"),
        source=sql.SQL("found"),
        examples=first_examples(sql.SQL("SELECT f.example FROM found AS f")),
        details=sql.SQL(
            "jsonb_build_object('sampled_rows', (SELECT count(*) FROM sampled), "
            "'keys', (SELECT jsonb_object_agg(f.example, f.row_count) FROM found AS f))"
        ),
    )


def _how_many(details: dict[str, Any]) -> Remark:
    keys = ", ".join(f"{key} ({rows:,})" for key, rows in sorted(details["keys"].items()))
    return Remark(f"in {details['sampled_rows']:,} rows that were looked at: {keys}")


CHECK = TableCheck(
    name="json_tenant_keys",
    phase="pre-migration",
    severity="info",
    description="Keys in JSON columns that look like the tenant key, and are not migrated",
    recommendation="Look whether the application reads the tenant from there: the migration leaves it alone.",
    build=_build,
    source=Source("sampled json", _tables),
    wrong_rows=_wrong_rows,
    not_applicable=lambda scope: None if _json_columns(scope) else "the table has no JSON column",
    remark=_how_many,
)
