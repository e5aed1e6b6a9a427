"""Reads what mentions the tenant key beside tables: views, materialised views, functions, policies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg

from tenant_migration.catalog.model import Dependent
from tenant_migration.catalog.relations import PRIVATE_SCHEMA

# Views and policies by what PostgreSQL recorded; a view that names the key has a dependency on its column.
_VIEWS = """
SELECT CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
       vn.nspname::text || '.' || v.relname::text,
       array_agg(DISTINCT tn.nspname::text || '.' || t.relname::text)
  FROM pg_depend d
  JOIN pg_rewrite r ON r.oid = d.objid
  JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
  JOIN pg_namespace vn ON vn.oid = v.relnamespace
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p', 'f')
  JOIN pg_namespace tn ON tn.oid = t.relnamespace
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
   AND a.attname = ANY (%(keys)s) AND vn.nspname NOT IN ('pg_catalog', 'information_schema', %(private)s)
   AND tn.nspname <> %(private)s
 GROUP BY 1, 2
"""

_POLICIES = """
SELECT 'policy', p.polname::text || ' on ' || n.nspname::text || '.' || t.relname::text,
       ARRAY[n.nspname::text || '.' || t.relname::text]
  FROM pg_policy p
  JOIN pg_class t ON t.oid = p.polrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE n.nspname <> %(private)s
   AND EXISTS (SELECT FROM pg_depend d
                 JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                  AND d.refclassid = 'pg_class'::regclass AND a.attname = ANY (%(keys)s))
"""

# A function's body is text to PostgreSQL: the key is looked for as a whole word. Members of extensions are
# left out, and so are our own functions in the interface schema.
_FUNCTIONS = """
SELECT 'function',
       n.nspname::text || '.' || p.proname::text || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       ARRAY[]::text[]
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', %(private)s)
   AND NOT (n.nspname = %(interface_schema)s
            AND p.proname IN ('get_migration_progress', 'validate_migration_readiness', 'reset_migration'))
   AND p.prokind IN ('f', 'p')
   AND coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) ~ %(pattern)s
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""


def read_dependents(
    connection: psycopg.Connection[Any], *, key_columns: Sequence[str], interface_schema: str
) -> tuple[Dependent, ...]:
    """Read the views, functions and policies that name one of the key columns, in order of kind and name."""
    values = {
        "keys": list(key_columns),
        "private": PRIVATE_SCHEMA,
        "interface_schema": interface_schema,
        "pattern": r"\m(" + "|".join(re.escape(key) for key in key_columns) + r")\M",
    }
    found = [
        Dependent(kind=kind, name=name, tables=tuple(sorted(tables)))
        for query in (_VIEWS, _POLICIES, _FUNCTIONS)
        for kind, name, tables in connection.execute(query, values)
    ]
    return tuple(sorted(found, key=lambda dependent: (dependent.kind, dependent.name)))
