"""Collisions by the index that refuses them, and how two rows meet in one."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import Remark
from tenant_migration.integrity.scope import TableScope, UniqueIndex
from tenant_migration.integrity.sources.tables import table_name

_INDEXES = """
jsonb_build_object('indexes', (
    SELECT jsonb_object_agg(i.index_name, i.wrong)
    FROM (SELECT x.index_name, sum(x.wrong) AS wrong FROM ({}) AS x GROUP BY x.index_name) AS i))
"""


def rows_of_index(scope: TableScope, index: UniqueIndex) -> sql.Composed:
    """Return what the index keeps unique, as FROM takes it: the table, or one partition."""
    return table_name(scope) if index.partition is None else sql.SQL("{}").format(sql.SQL(index.partition))


def exclude_each_other(index: UniqueIndex, one: str, other: str, names: list[str]) -> sql.Composed:
    """Return the condition that an exclusion constraint refuses one of two rows.

    Args:
        index: that of the constraint.
        one: alias of the first row.
        other: alias of the second row.
        names: columns of both with the values of the index's expressions, in order.
    """
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(sql.Identifier(one, name), sql.SQL(operator), sql.Identifier(other, name))
        for name, operator in zip(names, index.operators, strict=True)
    )


def indexes_detail(counted: sql.Composable) -> sql.Composed:
    """Return {"indexes": {index: collisions}} from a SELECT of (index_name, wrong); indexes may repeat."""
    return sql.SQL(_INDEXES).format(counted)


def by_index(details: dict[str, Any]) -> Remark:
    """Name each index with its count."""
    found = ", ".join(f"{name}: {wrong:,}" for name, wrong in sorted(details["indexes"].items()))
    return Remark(found)
