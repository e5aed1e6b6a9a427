"""Triggers of the application that each written row, or each batch, fires.

One that would change other columns, write elsewhere, raise or skip rows is critical until the configuration
allows it; any other is worth knowing.
"""

from __future__ import annotations

import json
from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import Remark, TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import FiringTrigger, TableScope
from tenant_migration.integrity.sources.catalog import MEMBERS, OF_MEMBERS, table_and_partitions
from tenant_migration.integrity.verdict import first_examples, verdict

_SHOWN = 3

_TRIGGERS = """
SELECT DISTINCT t.tgname::text AS example
FROM pg_trigger AS t WHERE t.tgrelid IN ({relations}) AND NOT t.tgisinternal
"""

_DEFINITIONS = """
SELECT t.tgname::text AS example, t.tgrelid::regclass::text AS on_table,
       pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger AS t
WHERE t.tgrelid IN ({relations}) AND NOT t.tgisinternal AND t.tgname = ANY ({names}::text[])
"""


def _told(scope: TableScope) -> tuple[FiringTrigger, ...]:
    """Return what is critical or, when nothing is, what fires."""
    return _not_allowed(scope) or scope.structure.firing_triggers


def _not_allowed(scope: TableScope) -> tuple[FiringTrigger, ...]:
    if scope.table.settings.on_triggers == "fire":
        return ()
    return tuple(trigger for trigger in scope.structure.firing_triggers if not trigger.is_harmless)


def _names(scope: TableScope) -> sql.Literal:
    return sql.Literal([trigger.name for trigger in _told(scope)])


def _build(scope: TableScope) -> Verdict:
    every = sql.SQL(_TRIGGERS).format(relations=OF_MEMBERS)
    told = sql.SQL("d.example = ANY ({}::text[])").format(_names(scope))
    does = {trigger.name: trigger.does for trigger in _told(scope)}
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE {})").format(told),
        source=sql.SQL("({}) AS d").format(every),
        examples=first_examples(sql.SQL("SELECT d.example FROM ({}) AS d WHERE {}").format(every, told)),
        details=sql.Literal(json.dumps({"does": does})),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(_DEFINITIONS).format(relations=table_and_partitions(scope.table), names=_names(scope))


def _severity(scope: TableScope) -> SeverityLevel:
    return "critical" if _not_allowed(scope) else "info"


def _what_they_do(details: dict[str, Any]) -> Remark:
    does: dict[str, str] = details["does"]
    shown = [f"{name} {what}" for name, what in sorted(does.items())[:_SHOWN]]
    more = f"; and {len(does) - _SHOWN} more" if len(does) > _SHOWN else ""
    return Remark("; ".join(shown) + more)


CHECK = TableCheck(
    name="triggers",
    phase="pre-migration",
    severity="critical",
    description="Triggers that the migration fires",
    recommendation="Decide with `on_triggers` of the table: `guard` with the statement that `plan` shows, or "
    "`fire`, which a rollback does not undo.",
    examples_are_names=True,
    build=_build,
    source=MEMBERS,
    wrong_rows=_wrong_rows,
    severity_in=_severity,
    remark=_what_they_do,
)
