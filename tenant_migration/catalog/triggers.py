"""Reads the application's triggers and rewrite rules."""

from __future__ import annotations

from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from tenant_migration.catalog.model import Rule, Trigger

# A partition's copy of its parent's trigger has tgparentid set; it is left out unless it was switched on or
# off apart from its parent.
_TRIGGERS = """
SELECT t.tgrelid::bigint AS table_oid, t.tgname::text AS name, t.tgtype::int AS type,
       t.tgenabled::text AS enabled,
       ARRAY(SELECT a.attname::text FROM unnest(t.tgattr::int2[]) WITH ORDINALITY AS u (number, position)
               JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = u.number
              ORDER BY u.position) AS update_columns,
       n.nspname::text || '.' || p.proname::text AS function, p.prosrc AS function_source,
       l.lanname::text AS language, t.tgqual IS NOT NULL AS has_when, t.tgdeferrable AS is_deferrable,
       c.relkind = 'p' AS is_on_partitioned, pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_trigger above ON above.oid = t.tgparentid
 WHERE t.tgrelid = ANY (%(oids)s::oid[]) AND NOT t.tgisinternal
   AND t.tgenabled IS DISTINCT FROM above.tgenabled
 ORDER BY t.tgrelid, t.tgname
"""

_RULES = """
SELECT r.ev_class::bigint AS table_oid, r.rulename::text AS name, pg_get_ruledef(r.oid) AS definition
  FROM pg_rewrite r
 WHERE r.ev_class = ANY (%(oids)s::oid[]) AND r.ev_type = '2' AND r.ev_enabled <> 'D'
 ORDER BY r.ev_class, r.rulename
"""

# Bits of pg_trigger.tgtype, from PostgreSQL's catalog/pg_trigger.h.
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE, _INSTEAD = 1, 2, 4, 8, 16, 32, 64
_EVENTS = {_INSERT: "insert", _DELETE: "delete", _UPDATE: "update", _TRUNCATE: "truncate"}
_ENABLED: dict[str, Literal["origin", "disabled", "replica", "always"]] = {
    "O": "origin",
    "D": "disabled",
    "R": "replica",
    "A": "always",
}


def read_triggers(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Trigger]]:
    """Read the triggers that the application declared on these tables and leaves."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_TRIGGERS, {"oids": oids}).fetchall()
    triggers: dict[int, list[Trigger]] = {}
    for row in rows:
        triggers.setdefault(row["table_oid"], []).append(
            Trigger(
                name=row["name"],
                timing=_timing(row["type"]),
                level="row" if row["type"] & _ROW else "statement",
                events=tuple(event for bit, event in _EVENTS.items() if row["type"] & bit),
                update_columns=tuple(row["update_columns"]),
                enabled=_ENABLED[row["enabled"]],
                function=row["function"],
                function_source=row["function_source"],
                has_when=row["has_when"],
                definition=row["definition"],
                language=row["language"],
                deferrable=row["is_deferrable"],
                on_partitioned=row["is_on_partitioned"],
            )
        )
    return triggers


def read_update_rules(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Rule]]:
    """Read the rewrite rules ON UPDATE of these tables and leaves."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_RULES, {"oids": oids}).fetchall()
    rules: dict[int, list[Rule]] = {}
    for row in rows:
        rules.setdefault(row["table_oid"], []).append(Rule(name=row["name"], definition=row["definition"]))
    return rules


def _timing(bits: int) -> Literal["before", "after", "instead of"]:
    if bits & _INSTEAD:
        return "instead of"
    return "before" if bits & _BEFORE else "after"
