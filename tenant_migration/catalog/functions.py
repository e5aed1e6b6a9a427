"""Reads which of the functions that triggers call cannot write.

PostgreSQL does not let a STABLE or IMMUTABLE function write, so its declaration is proof enough. A VOLATILE
one may do anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import psycopg

from tenant_migration.catalog.model import Trigger

_CALL = re.compile(r'([A-Za-z_][\w$]*|"[^"]+")\s*\(')

_CANNOT_WRITE = """
SELECT p.proname::text
  FROM pg_proc p
 WHERE p.proname = ANY (%(names)s)
 GROUP BY p.proname
HAVING bool_and(p.provolatile <> 'v')
"""


def called(trigger: Trigger) -> frozenset[str]:
    """Return every bare name that stands before a parenthesis in the trigger's function, calls or not."""
    return called_in(trigger.function_source)


def called_in(source: str) -> frozenset[str]:
    """Return every bare name that stands before a parenthesis, folded as PostgreSQL folds it."""
    return frozenset(
        found[1:-1] if found.startswith('"') else found.lower() for found in _CALL.findall(source)
    )


def read_functions_that_cannot_write(
    connection: psycopg.Connection[Any], names: Collection[str]
) -> frozenset[str]:
    """Return those of the names that are functions in this database, none of them VOLATILE, in any schema."""
    if not names:
        return frozenset()
    return frozenset(row[0] for row in connection.execute(_CANNOT_WRITE, {"names": sorted(names)}))
