"""What the tool itself made: left out of the facts on which a plan depends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tenant_migration.catalog.relations import PRIVATE_SCHEMA

# Looked up by name in the catalogs: to_regclass raises where the schema may not be used.
_READABLE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = 'created_objects'
       AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
       AND NOT pg_catalog.row_security_active(c.oid)
)
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
    """Read the registry; empty where the private schema is not installed or closed to the connected role."""
    readable = connection.execute(_READABLE, (PRIVATE_SCHEMA,)).fetchone()
    if readable is None or not readable[0]:
        return CreatedObjects()
    return CreatedObjects(frozenset(connection.execute(_CREATED).fetchall()))
