"""Organizations that are their own ancestors. Asked before and after: the hierarchy must hold.

Every organization that has a parent and a child gets a number; `parents[i]` is its parent's number, 0 for
none. Each round replaces the parent by the parent's parent, so that round k looks 2^k steps up: 14 rounds
for a depth of 10,000, where walking step by step would read the table 10,000 times and carrying the path
would be quadratic. After as many steps as there are organizations one is outside (0) or on a circle, and
every organization on a circle is reached. `labels[i]` is the smallest number seen on the way: on a circle,
the number that names the circle.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Source, Verdict
from tenant_migration.integrity.model import Phase
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.tables import mappings, tenant_is_in_scope
from tenant_migration.integrity.verdict import first_examples, verdict

_ON_CIRCLES = """
WITH RECURSIVE numbered AS MATERIALIZED (
    SELECT o.{id} AS id, o.{parent_id} AS parent_id, row_number() OVER ()::int AS number
    FROM {table} AS o
    WHERE o.{parent_id} IS NOT NULL AND EXISTS (SELECT FROM {table} AS child WHERE child.{parent_id} = o.{id})
), edges AS (
    SELECT array_agg(coalesce(parent.number, 0) ORDER BY n.number) AS parents,
           array_agg(n.number ORDER BY n.number) AS labels
    FROM numbered AS n LEFT JOIN numbered AS parent ON parent.id = n.parent_id
), jumps (steps, parents, labels) AS (
    SELECT 1::bigint, edges.parents, edges.labels FROM edges WHERE edges.parents IS NOT NULL
    UNION ALL
    SELECT j.steps * 2,
           ARRAY(SELECT CASE WHEN j.parents[i] = 0 THEN 0 ELSE j.parents[j.parents[i]] END
                 FROM generate_subscripts(j.parents, 1) AS i ORDER BY i),
           ARRAY(SELECT least(j.labels[i], CASE WHEN j.parents[i] <> 0 THEN j.labels[j.parents[i]] END)
                 FROM generate_subscripts(j.parents, 1) AS i ORDER BY i)
    FROM jumps AS j WHERE j.steps < cardinality(j.parents)
), last AS MATERIALIZED (
    SELECT j.parents, j.labels FROM jumps AS j ORDER BY j.steps DESC LIMIT 1
), ancestors AS MATERIALIZED (
    -- the label is looked up here, so that no join carries the arrays
    SELECT a.number, a.ancestor, last.labels[a.ancestor] AS circle
    FROM last CROSS JOIN LATERAL unnest(last.parents) WITH ORDINALITY AS a(ancestor, number)
    WHERE a.ancestor <> 0
), reached AS MATERIALIZED (
    SELECT n.id, ancestors.ancestor, ancestors.circle
    FROM ancestors JOIN numbered AS n ON n.number = ancestors.number
)
SELECT n.id::text AS example, found.circle
FROM (SELECT DISTINCT reached.ancestor, reached.circle FROM reached WHERE {wanted}) AS found
JOIN numbered AS n ON n.number = found.ancestor
"""

# A tenant is judged by the circles above its own organization. An organization without children has no
# number; its parent has one then.
_ABOVE_TENANTS = """
reached.circle IN (
    SELECT above.circle FROM {mappings} AS m JOIN {table} AS own ON own.{id} = m.organization_id
    JOIN reached AS above ON above.id IN (own.{id}, own.{parent_id}) WHERE {tenants})
"""


def _wrong_rows(scope: DatabaseScope) -> sql.Composed:
    names = {
        "id": sql.Identifier(scope.organizations.id_column),
        "parent_id": sql.Identifier(scope.organizations.parent_id_column or ""),
        "table": sql.Identifier(scope.organizations.schema_name, scope.organizations.table_name),
    }
    wanted: sql.Composable = sql.SQL("TRUE")
    if scope.tenants is not None:
        wanted = sql.SQL(_ABOVE_TENANTS).format(
            mappings=mappings(scope.plan.interface_schema),
            tenants=tenant_is_in_scope(scope.tenants, sql.Identifier("m", "tenant_id")),
            **names,
        )
    return sql.SQL(_ON_CIRCLES).format(wanted=wanted, **names)


def _build(scope: DatabaseScope) -> Verdict:
    circles = sql.SQL("SELECT c.example FROM circles AS c")
    return verdict(
        rows_checked=sql.SQL("(SELECT count(*) FROM {})").format(
            sql.Identifier(scope.organizations.schema_name, scope.organizations.table_name)
        ),
        count=sql.SQL("count(*)"),
        source=sql.SQL("circles"),
        examples=first_examples(circles),
        details=sql.SQL("jsonb_build_object('circles', (SELECT count(DISTINCT c.circle) FROM circles AS c))"),
    )


def _circles(scope: DatabaseScope) -> sql.Composed:
    return sql.SQL("circles AS MATERIALIZED ({})").format(_wrong_rows(scope))


CIRCLES = Source("circles", _circles)


def _not_applicable(scope: DatabaseScope) -> str | None:
    return None if scope.organizations.parent_id_column else "the organizations have no parent column"


def _check(phase: Phase) -> DatabaseCheck:
    return DatabaseCheck(
        name="circular_organizations",
        phase=phase,
        severity="critical",
        description="Organizations with circular parent references",
        recommendation="Give one organization of each circle another parent, or none.",
        examples_are_names=True,
        build=_build,
        source=CIRCLES,
        wrong_rows=_wrong_rows,
        about=lambda scope: f"{scope.organizations.schema_name}.{scope.organizations.table_name}",
        not_applicable=_not_applicable,
    )


BEFORE = _check("pre-migration")
AFTER = _check("post-migration")
