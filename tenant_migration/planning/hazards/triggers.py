"""Triggers and rules of the application that the backfill would fire."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.catalog.model import Trigger
from tenant_migration.planning.hazards.context import TableContext, info, quoted, refuse, warn
from tenant_migration.planning.model import Hazard
from tenant_migration.planning.trigger_effects import Effects, Firing, effects, firing, guard_statement


def application_triggers(context: TableContext) -> Iterator[Hazard]:
    """Tell of every trigger that an UPDATE of the organization column fires, and of what it does."""
    cannot_write = context.database.catalog.functions_that_cannot_write
    for trigger in context.table.triggers:
        if context.database.created.has("trigger", trigger.name, context.relations):
            continue
        fires = firing(trigger, context.organization_column)
        if fires is Firing.GUARDED:
            yield info(
                "trigger_guarded",
                f"trigger {trigger.name} asks for tenant_migration.backfill, so the backfill passes it by",
                "nothing to do",
            )
        elif fires is Firing.FIRES:
            yield from _firing(context, trigger, effects(trigger, cannot_write))


def update_rules(context: TableContext) -> Iterator[Hazard]:
    """Refuse rewrite rules ON UPDATE: they put another statement in the place of ours."""
    for rule in context.table.update_rules:
        yield refuse(
            "update_rule",
            f"rule {rule.name} rewrites every UPDATE: {' '.join(rule.definition.split())}",
            f"replace the rule by a trigger, or for the migration: "
            f"ALTER TABLE {context.sql_name} DISABLE RULE {quoted(rule.name)}",
        )


def _firing(context: TableContext, trigger: Trigger, does: Effects) -> Iterator[Hazard]:
    what = f"trigger {trigger.name} ({trigger.timing} {trigger.level}, {trigger.function})"
    often = "for each row" if trigger.level == "row" else "for each batch"
    if does.harmless:
        yield info(
            "trigger_fires",
            f"{what} fires {often}; its source changes nothing else",
            "nothing to do; a guard would save its time",
        )
        return
    report = warn if context.settings.on_triggers == "fire" else refuse
    if does.raises:
        yield report(
            "trigger_raises",
            f"{what} fires {often} and may raise an error; rows it refuses are quarantined",
            _way_out(context, trigger),
        )
    if does.skips_rows:
        yield report(
            "trigger_skips_rows",
            f"{what} may return NULL or OLD, which keeps a row from being written without an error",
            _way_out(context, trigger),
        )
    if does.writes:
        yield report(
            "trigger_writes_elsewhere",
            f"{what} fires {often} and writes elsewhere: {', '.join(does.writes)}",
            _way_out(context, trigger),
        )
    if does.sets_columns:
        yield report(
            "trigger_changes_columns",
            f"{what} fires {often} and sets {', '.join(does.sets_columns)}",
            _way_out(context, trigger),
        )


def _way_out(context: TableContext, trigger: Trigger) -> str:
    if context.settings.on_triggers == "fire":
        return "on_triggers: fire was chosen; what the trigger does is not undone by a rollback"
    guard = guard_statement(trigger)
    by_guard = (
        f"`guard`, and the trigger guarded by: {guard}"
        if guard
        else "`guard`, and a guard on tenant_migration.backfill at the start of its function"
    )
    return (
        f"decide with tables.{context.name}.on_triggers: {by_guard}; "
        "`fire` to let it fire, which a rollback does not undo; `refuse` keeps the table out"
    )
