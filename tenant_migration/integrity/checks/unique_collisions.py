"""Rows of several tenants that would collide in the twin of a unique index, built on the organization.

(tenant_id, email) is unique, two tenants go to one organization, and both have the same email.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, UniqueIndex
from tenant_migration.integrity.sources.rows_before import mapping_of
from tenant_migration.integrity.sources.tables import same_tenant, table_name, tenant_key
from tenant_migration.integrity.verdict import first_examples, verdict

# The index's own expressions name the table's columns bare: they are computed where nothing else is in sight.
_ROWS = """
SELECT m.tenant_id, m.organization_id, i.*
FROM (SELECT {key} AS key{values} FROM {table} WHERE {predicate}) AS i
JOIN (SELECT s.*, count(*) OVER (PARTITION BY s.organization_id) AS tenants FROM ({mapping}) AS s) AS m
  ON {same_tenant} AND m.tenants > 1
"""

_COLLISIONS = """
SELECT {index} || ' ' || ROW(r.organization_id{values})::text AS example,
       array_agg(DISTINCT r.tenant_id) AS tenant_ids
FROM ({rows}) AS r WHERE TRUE{no_nulls} GROUP BY r.organization_id{values} HAVING count(*) > 1
"""


def _every_tenant(scope: TableScope) -> TableScope:
    """Return the scope without its tenants: a tenant collides with tenants that were not asked about."""
    return TableScope(scope.plan, scope.table, scope.facts, None)


def _rows_of(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return a SELECT of (tenant_id, organization_id, value_1, ...): rows of tenants that share one."""
    values = [
        sql.SQL(", {} AS {}").format(sql.SQL(expression), sql.Identifier(f"value_{number}"))
        for number, expression in enumerate(index.other_expressions, start=1)
    ]
    return sql.SQL(_ROWS).format(
        key=tenant_key(scope.table, scope.table.table_name),
        values=sql.SQL("").join(values),
        table=table_name(scope),
        predicate=sql.SQL(index.predicate or "TRUE"),
        mapping=mapping_of(_every_tenant(scope)),
        same_tenant=same_tenant(scope, sql.Identifier("i", "key"), sql.Identifier("m", "key")),
    )


def _collisions(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return a SELECT of (example, tenant_ids), one row for each value that several tenants bring along."""
    names = [sql.Identifier(f"value_{number}") for number in range(1, len(index.other_expressions) + 1)]
    values = sql.SQL("").join(sql.SQL(", r.{}").format(name) for name in names)
    no_nulls = sql.SQL("").join(
        sql.SQL(" AND r.{} IS NOT NULL").format(name) for name in (names if index.nulls_distinct else [])
    )
    return sql.SQL(_COLLISIONS).format(
        index=sql.Literal(index.name), values=values, rows=_rows_of(scope, index), no_nulls=no_nulls
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    collisions = sql.SQL(" UNION ALL ").join(
        _collisions(scope, index) for index in scope.facts.unique_indexes
    )
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL("c.tenant_ids && {}::text[]").format(sql.Literal(list(scope.tenants)))
    return sql.SQL("SELECT c.example, c.tenant_ids FROM ({}) AS c WHERE {}").format(collisions, wanted)


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(table_name(scope)),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS w").format(_wrong_rows(scope)),
        examples=first_examples(_wrong_rows(scope)),
    )


def _not_applicable(scope: TableScope) -> str | None:
    if not scope.facts.unique_indexes:
        return "no unique index contains the tenant key"
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
    wrong_rows=_wrong_rows,
    not_applicable=_not_applicable,
)
