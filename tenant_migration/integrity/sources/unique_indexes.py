"""Collisions by the index that refuses them."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import Remark

_INDEXES = """
jsonb_build_object('indexes', (
    SELECT jsonb_object_agg(i.index_name, i.wrong)
    FROM (SELECT x.index_name, sum(x.wrong) AS wrong FROM ({}) AS x GROUP BY x.index_name) AS i))
"""


def indexes_detail(counted: sql.Composable) -> sql.Composed:
    """Return {"indexes": {index: collisions}} from a SELECT of (index_name, wrong); indexes may repeat."""
    return sql.SQL(_INDEXES).format(counted)


def by_index(details: dict[str, Any]) -> Remark:
    """Name each index with its count."""
    found = ", ".join(f"{name}: {wrong:,}" for name, wrong in sorted(details["indexes"].items()))
    return Remark(found)
