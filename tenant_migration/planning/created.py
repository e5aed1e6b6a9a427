"""What the tool itself made: left out of the facts on which a plan depends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tenant_migration.catalog.relations import PRIVATE_SCHEMA

_EXISTS = """
SELECT pg_catalog.to_regclass('tenant_migration.created_objects') IS NOT NULL
       AND pg_catalog.has_schema_privilege('tenant_migration', 'USAGE')
"""
_CREATED = """
SELECT kind, object_name::text, on_relation FROM tenant_migration.created_objects WHERE dropped_at IS NULL
"""


@dataclass(frozen=True)
class CreatedObjects:
    """Registered objects that were not dropped, as (kind, name, `schema.table` that carries it)."""

    objects: frozenset[tuple[str, str, str]] = field(default_factory=frozenset)

    def has(self, kind: str, name: str, on_relations: Iterable[str]) -> bool:
        """Say whether the tool made this object on one of these relations."""
        return any((kind, name, relation) in self.objects for relation in on_relations)


def read_created_objects(connection: psycopg.Connection[Any]) -> CreatedObjects:
    """Read the registry; empty where the private schema is not installed."""
    known = connection.execute(
        "SELECT pg_catalog.to_regnamespace(%s) IS NOT NULL", (PRIVATE_SCHEMA,)
    ).fetchone()
    if known is None or not known[0]:
        return CreatedObjects()
    readable = connection.execute(_EXISTS).fetchone()
    if readable is None or not readable[0]:
        return CreatedObjects()
    return CreatedObjects(frozenset(connection.execute(_CREATED).fetchall()))
