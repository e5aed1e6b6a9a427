"""Rows that refer to a row that does not exist, in tables that are not migrated, or between partitions.

References between managed tables, configured ones included, are `orphans`.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Source, TableCheck, Verdict
from tenant_migration.integrity.scope import ReferenceElsewhere, TableScope
from tenant_migration.integrity.sources.tables import all_of, column, in_scope, row_key
from tenant_migration.integrity.verdict import first_examples, verdict

# Joined by equality with the parent's columns, so a NULL one of the parent means: no such row.
_COUNTED = """
SELECT count(*) AS total, count(*) FILTER (WHERE {found} IS NULL) AS orphans
FROM {child} AS c LEFT JOIN {parent} AS p ON {refers_to} WHERE {refers} AND {in_scope}
"""

_WRONG_ROWS = """
SELECT {name} || ': ' || {example} AS example FROM {child} AS c
WHERE {refers} AND {in_scope} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {refers_to})
"""


def _parts(scope: TableScope, reference: ReferenceElsewhere) -> dict[str, sql.Composable]:
    return {
        "child": _table(reference.child, is_partitioned=reference.child_is_partitioned),
        "parent": _table(reference.parent, is_partitioned=reference.parent_is_partitioned),
        "refers_to": all_of(
            [
                sql.SQL("{} {} {}").format(column("p", parent), sql.SQL(operator), column("c", child))
                for child, parent, operator in zip(
                    reference.child_columns, reference.parent_columns, reference.operators, strict=True
                )
            ]
        ),
        "refers": all_of(
            [sql.SQL("{} IS NOT NULL").format(column("c", name)) for name in reference.child_columns]
        ),
        "in_scope": in_scope(scope, "c"),
    }


def _table(name: tuple[str, str], *, is_partitioned: bool) -> sql.Composed:
    return sql.SQL("{}" if is_partitioned else "ONLY {}").format(sql.Identifier(*name))


def _references(scope: TableScope) -> tuple[ReferenceElsewhere, ...]:
    return scope.structure.references_elsewhere


def _counted(scope: TableScope) -> sql.Composed:
    counted = sql.SQL(" UNION ALL ").join(
        sql.SQL(_COUNTED).format(found=column("p", reference.parent_columns[0]), **_parts(scope, reference))
        for reference in _references(scope)
    )
    return sql.SQL("referring AS MATERIALIZED ({})").format(counted)


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(
        sql.SQL(_WRONG_ROWS).format(
            name=sql.Literal(reference.name), example=row_key(scope.table, "c"), **_parts(scope, reference)
        )
        for reference in _references(scope)
    )


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(referring.total)"),
        count=sql.SQL("sum(referring.orphans)"),
        source=sql.SQL("referring"),
        examples=first_examples(_wrong_rows(scope)),
    )


CHECK = TableCheck(
    name="orphans_elsewhere",
    phase="pre-migration",
    severity="warning",
    description="Rows that refer to a row that does not exist in a table that is not migrated",
    recommendation="Delete or repair these rows: the migration leaves the reference as it is, and nothing "
    "validates it.",
    build=_build,
    source=Source("references elsewhere", _counted),
    wrong_rows=_wrong_rows,
    not_applicable=lambda scope: (
        None if _references(scope) else "no foreign key of the table leads to a table that is not migrated"
    ),
)
