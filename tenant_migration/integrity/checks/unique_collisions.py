"""Rows of several tenants that would collide in the twin of a unique index, built on the organization.

(tenant_id, email) is unique, two tenants go to one organization, and both have the same email. So with the
twin of an exclusion constraint, or of WITHOUT OVERLAPS: there each pair of rows is a collision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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

_TENANT, _ORGANIZATION = (
    sql.Identifier("tenant_migration.tenant_id"),
    sql.Identifier("tenant_migration.organization_id"),
)
"""Beside the table's own columns, with names that none of them has."""

# The index's own expressions are computed where nothing but the table's columns is in sight. Each tenant's
# key is replaced by that of the first tenant of its organization: what the organization would do in the key's
# place, also within an expression, and of any type.
_ROWS = """
SELECT i.{tenant}, i.{organization}{values}
FROM (SELECT m.first_key AS {key}, m.tenant_id AS {tenant}, m.organization_id AS {organization}{columns}
      FROM (SELECT * FROM {table} WHERE {predicate}) AS t JOIN ({sharing}) AS m ON {same_tenant}) AS i
"""

_SHARING = """
SELECT w.* FROM (
    SELECT s.*, count(*) OVER (PARTITION BY s.organization_id) AS tenants,
           first_value(s.key) OVER (PARTITION BY s.organization_id ORDER BY s.tenant_id) AS first_key
    FROM ({mapping}) AS s) AS w
WHERE w.tenants > 1
"""

_COLLISIONS = """
SELECT {index} AS index_name, {index} || ' ' || ROW(r.{organization}{values})::text AS example,
       array_agg(DISTINCT r.{tenant}) AS tenant_ids
FROM ({rows}) AS r WHERE TRUE{no_nulls} GROUP BY r.{organization}{values} HAVING count(*) > 1
"""

# Rows of one tenant do not meet: the constraint itself is there.
_EXCLUSIONS = """
SELECT {index} AS index_name,
       {index} || ' ' || ROW(r.{organization}{shown})::text || ' and ' || ROW({shown_of_other})::text
           AS example,
       ARRAY[r.{tenant}, o.{tenant}] AS tenant_ids
FROM ({rows}) AS r JOIN ({rows}) AS o
  ON o.{organization} = r.{organization} AND r.{tenant} < o.{tenant} AND {exclude_each_other}
"""


def _every_tenant(scope: TableScope) -> TableScope:
    """Return the scope without its tenants: a tenant collides with tenants that were not asked about."""
    return replace(scope, tenants=None)


def _rows_of(scope: TableScope, index: UniqueIndex, expressions: Sequence[str]) -> sql.Composed:
    """Return a SELECT of (tenant_id, organization_id, value_1, ...): rows of tenants that share one."""
    values = [
        sql.SQL(", {} AS {}").format(sql.SQL(expression), sql.Identifier(f"value_{number}"))
        for number, expression in enumerate(expressions, start=1)
    ]
    key = scope.table.tenant_column.name
    return sql.SQL(_ROWS).format(
        tenant=_TENANT,
        organization=_ORGANIZATION,
        values=sql.SQL("").join(values),
        columns=sql.SQL("").join(
            sql.SQL(", {}").format(column("t", name)) for name in scope.facts.columns if name != key
        ),
        key=sql.Identifier(key),
        table=rows_of_index(scope, index),
        predicate=sql.SQL(index.predicate or "TRUE"),
        sharing=sql.SQL(_SHARING).format(mapping=mapping_of(_every_tenant(scope))),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier("m", "key")),
    )


def _collisions(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return a SELECT of (index_name, example, tenant_ids): each value that several tenants bring along."""
    if index.operators:
        return _exclusions(scope, index)
    names = [sql.Identifier(f"value_{number}") for number in range(1, len(index.other_expressions) + 1)]
    values = sql.SQL("").join(sql.SQL(", r.{}").format(name) for name in names)
    no_nulls = sql.SQL("").join(
        sql.SQL(" AND r.{} IS NOT NULL").format(name) for name in (names if index.nulls_distinct else [])
    )
    return sql.SQL(_COLLISIONS).format(
        index=sql.Literal(index.name),
        tenant=_TENANT,
        organization=_ORGANIZATION,
        values=values,
        rows=_rows_of(scope, index, index.other_expressions),
        no_nulls=no_nulls,
    )


def _exclusions(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return the same of an exclusion constraint: each two rows of two tenants that exclude each other.

    The key takes part, as the other tenant's: an operator other than equality may let both rows stand.
    """
    names = [f"value_{number}" for number in range(1, len(index.expressions) + 1)]
    others = [
        name
        for name, expression in zip(names, index.expressions, strict=True)
        if expression in index.other_expressions
    ]
    return sql.SQL(_EXCLUSIONS).format(
        index=sql.Literal(index.name),
        tenant=_TENANT,
        organization=_ORGANIZATION,
        shown=sql.SQL("").join(sql.SQL(", {}").format(column("r", name)) for name in others),
        shown_of_other=sql.SQL(", ").join(column("o", name) for name in others),
        rows=_rows_of(scope, index, index.expressions),
        exclude_each_other=exclude_each_other(index, "r", "o", names),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    collisions = sql.SQL(" UNION ALL ").join(
        _collisions(scope, index) for index in scope.facts.unique_indexes
    )
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL("c.tenant_ids && {}::text[]").format(sql.Literal(list(scope.tenants)))
    return sql.SQL("SELECT c.index_name, c.example, c.tenant_ids FROM ({}) AS c WHERE {}").format(
        collisions, wanted
    )


def _found(scope: TableScope) -> sql.Composed:
    return sql.SQL("collisions AS MATERIALIZED ({})").format(_wrong_rows(scope))


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(table_name(scope)),
        count=sql.SQL("count(*)"),
        source=sql.SQL("collisions"),
        examples=first_examples(sql.SQL("SELECT c.example FROM collisions AS c")),
        details=indexes_detail(sql.SQL("SELECT c.index_name, 1 AS wrong FROM collisions AS c")),
    )


def _not_applicable(scope: TableScope) -> str | None:
    if not scope.facts.unique_indexes:
        return "no unique index and no exclusion constraint contains the tenant key"
    if not scope.several_tenants_share_an_organization:
        return "no two tenants go to one organization"
    return None


CHECK = TableCheck(
    name="unique_collisions",
    phase="pre-migration",
    severity="warning",
    description="Values, unique for each tenant, that several tenants would bring into one organization",
    recommendation="The migration itself does not fail; a unique index with the organization in place of the "
    "tenant would. Resolve these values before building it.",
    build=_build,
    source=Source("unique collisions", _found),
    wrong_rows=_wrong_rows,
    not_applicable=_not_applicable,
    remark=by_index,
)
