"""Reads row-security policies."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Policy

_POLICIES = """
SELECT p.polrelid::bigint AS table_oid, p.polname::text AS name, p.polcmd::text AS command,
       p.polpermissive AS permissive,
       ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END
               FROM unnest(p.polroles) AS r ORDER BY 1) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using_sql, pg_get_expr(p.polwithcheck, p.polrelid) AS check_sql
  FROM pg_policy p
 WHERE p.polrelid = ANY (%(oids)s::oid[])
 ORDER BY p.polrelid, p.polname
"""
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}


def read_policies(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Policy]]:
    """Read the policies of these tables and leaves by oid."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_POLICIES, {"oids": oids}).fetchall()
    policies: dict[int, list[Policy]] = {}
    for row in rows:
        policies.setdefault(row["table_oid"], []).append(
            Policy(
                name=row["name"],
                command=_COMMANDS[row["command"]],
                permissive=row["permissive"],
                roles=tuple(row["roles"]),
                using=row["using_sql"],
                check=row["check_sql"],
            )
        )
    return policies
