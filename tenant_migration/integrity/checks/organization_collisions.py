"""Rows that a unique index on the organization column would refuse, once they have their organization.

(organization_id, email) is unique: rows without an organization do not meet in it, filled ones do, be they of
two tenants of one organization or of one tenant. So with an exclusion constraint, or WITHOUT OVERLAPS.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source, TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, UniqueIndex
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import column, same_tenant, table_name, tenant_key
from tenant_migration.integrity.sources.unique_indexes import (
    by_index,
    exclude_each_other,
    indexes_detail,
    rows_of_index,
)
from tenant_migration.integrity.verdict import first_examples, verdict

_CHANGES, _TENANT = sql.Identifier("tenant_migration.changes"), sql.Identifier("tenant_migration.tenant_id")
_PLACE = sql.Identifier("tenant_migration.place")
"""Beside the table's own columns, with names that none of them has."""

# The index's own expressions and predicate are computed on the rows as they will be, where nothing else is in
# sight.
_ROWS_AFTERWARDS = """
SELECT {columns}, {afterwards} AS {organization}, m.tenant_id AS {tenant},
       {afterwards} IS DISTINCT FROM {now} AS {changes}, ROW(t.tableoid, t.ctid) AS {place}
FROM {table} AS t LEFT JOIN ({mapping}) AS m ON {same_tenant}
"""

_COLLISIONS = """
SELECT {index} AS index_name, {index} || ' ' || ROW({keys})::text AS example,
       array_agg(DISTINCT r.{tenant}) AS tenant_ids, count(*) - 1 AS refused
FROM ({values}) AS r
WHERE {no_nulls} GROUP BY {keys} HAVING count(*) > 1 AND bool_or(r.{changes})
"""

# Of two rows that exclude each other the one that is there stays; of two that come in, the first.
_EXCLUSIONS = """
SELECT {index} AS index_name, {index} || ' ' || ROW({keys})::text AS example,
       ARRAY[r.{tenant}] AS tenant_ids, 1 AS refused
FROM ({values}) AS r
WHERE r.{changes} AND EXISTS (
    SELECT FROM ({values}) AS o
    WHERE {exclude_each_other} AND o.{place} <> r.{place} AND (NOT o.{changes} OR o.{place} < r.{place}))
"""
_VALUES = "SELECT {tenant}, {changes}, {place}, {values} FROM ({rows}) AS i WHERE {predicate}"


def _rows_afterwards(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    now = column("t", scope.table.organization_column)
    mapped = sql.Identifier("m", "organization_id")
    overwrites = scope.table.settings.on_existing_value == "overwrite"
    return sql.SQL(_ROWS_AFTERWARDS).format(
        columns=sql.SQL(", ").join(
            column("t", name) for name in scope.facts.columns if name != scope.table.organization_column
        ),
        afterwards=sql.SQL("coalesce({}, {})").format(*((mapped, now) if overwrites else (now, mapped))),
        organization=sql.Identifier(scope.table.organization_column),
        tenant=_TENANT,
        changes=_CHANGES,
        place=_PLACE,
        now=now,
        table=rows_of_index(scope, index),
        mapping=mapping_of(scope),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier("m", "key")),
    )


def _collisions(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return a SELECT of (index_name, example, tenant_ids, refused): each value of several rows."""
    names = [f"value_{number}" for number in range(len(index.expressions))]
    keys = [column("r", name) for name in names]
    no_nulls = [sql.SQL("{} IS NOT NULL").format(key) for key in (keys if index.nulls_distinct else [])]
    values = sql.SQL(_VALUES).format(
        tenant=_TENANT,
        changes=_CHANGES,
        place=_PLACE,
        values=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(sql.SQL(expression), sql.Identifier(name))
            for expression, name in zip(index.expressions, names, strict=True)
        ),
        rows=_rows_afterwards(scope, index),
        predicate=sql.SQL(index.predicate or "TRUE"),
    )
    parts = {
        "index": sql.Literal(index.name),
        "keys": sql.SQL(", ").join(keys),
        "tenant": _TENANT,
        "changes": _CHANGES,
        "values": values,
    }
    if index.operators:
        return sql.SQL(_EXCLUSIONS).format(
            place=_PLACE, exclude_each_other=exclude_each_other(index, "r", "o", names), **parts
        )
    return sql.SQL(_COLLISIONS).format(
        **parts,
        no_nulls=sql.SQL(" AND ").join([sql.SQL("TRUE"), *no_nulls]),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(
        _collisions(scope, index) for index in scope.facts.organization_indexes
    )


def _found(scope: TableScope) -> sql.Composed:
    return sql.SQL("collisions AS MATERIALIZED ({})").format(_wrong_rows(scope))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(table_name(scope)),
        count=sql.SQL("sum(c.refused)"),
        source=sql.SQL("collisions AS c"),
        examples=first_examples(sql.SQL("SELECT c.example FROM collisions AS c")),
        details=indexes_detail(sql.SQL("SELECT c.index_name, c.refused AS wrong FROM collisions AS c")),
    )


CHECK = TableCheck(
    name="organization_collisions",
    phase="pre-migration",
    severity="warning",
    description="Rows that a unique index or exclusion constraint on the organization column will refuse",
    recommendation="Resolve these values first: such a row is quarantined, and its tenant fails in "
    "this table.",
    build=_build,
    source=Source("organization collisions", _found),
    wrong_rows=_wrong_rows,
    remark=by_index,
    column=lambda scope: scope.table.organization_column,
    not_applicable=lambda scope: (
        None
        if scope.facts.organization_indexes
        else "no unique index and no exclusion constraint contains the organization column"
    ),
)
