"""Constraints that meet the organization column or the end of a transaction."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.counted import counted
from tenant_migration.planning.hazards.context import TableContext, info, quoted, refuse, warn
from tenant_migration.planning.model import Hazard


def deferrable_constraints(context: TableContext) -> Iterator[Hazard]:
    """Tell of constraints that are checked at commit.

    Pending checks make DDL in the same transaction fail (55006), which is why rows and DDL never share one.
    """
    names = [key.name for key in context.foreign_keys if key.deferrable]
    names += [constraint.name for constraint in context.table.constraints if constraint.deferrable]
    names += [trigger.name for trigger in context.table.triggers if trigger.deferrable]
    if names:
        yield info(
            "deferrable_constraints",
            f"{counted(len(names), 'constraint')} that may be checked at commit: {_some(names)}",
            "nothing to do: rows and DDL are never in one transaction, and a batch that fails at commit is "
            "judged like any other",
        )


def not_valid_constraints(context: TableContext) -> Iterator[Hazard]:
    """Warn of constraints that old rows may break: PostgreSQL refuses every UPDATE of such a row."""
    for constraint in context.table.constraints:
        if constraint.kind in ("check", "not null") and constraint.definition.endswith(" NOT VALID"):
            leaf = constraint.on_leaf
            name = context.sql_name if leaf is None else quoted(leaf.schema, leaf.name)
            where = "" if leaf is None else f" of partition {leaf}"
            yield warn(
                "constraint_not_valid",
                f"constraint {constraint.name}{where} holds for new rows only: {constraint.definition}; an "
                "old row that breaks it cannot be updated and is quarantined",
                f"ALTER TABLE {name} VALIDATE CONSTRAINT {quoted(constraint.name)} "
                "says whether there is such a row",
            )


def cascades(context: TableContext) -> Iterator[Hazard]:
    """Refuse foreign keys that would carry our change into other tables, where nothing journals it (F23)."""
    for key in context.database.foreign_keys_to(context.managed.name):
        if context.organization_column in key.parent_columns and key.on_update in (
            "cascade",
            "set null",
            "set default",
        ):
            yield refuse(
                "cascade_on_organization",
                f"foreign key {key.name} of {key.child} refers to {context.organization_column} ON UPDATE "
                f"{key.on_update.upper()}: rows of {key.child} would change without an undo",
                f"declare {key.name} anew without ON UPDATE {key.on_update.upper()}, or choose another "
                "organization column",
            )


def composite_keys(context: TableContext) -> Iterator[Hazard]:
    """Warn of composite foreign keys that hold the organization column: filling it makes them apply."""
    for key in context.foreign_keys:
        if len(key.child_columns) > 1 and context.organization_column in key.child_columns:
            yield warn(
                "composite_foreign_key_on_organization",
                f"foreign key {key.name} ({', '.join(key.child_columns)}) to {key.parent} is not checked "
                f"while {context.organization_column} is NULL, and is from then on",
                "parents are migrated first; rows whose parent is of another organization are quarantined",
            )


def generated_columns(context: TableContext) -> Iterator[Hazard]:
    """Warn of generated columns that change with the organization column."""
    names = [
        column.name
        for column in context.table.columns
        if context.organization_column in column.generated_from
    ]
    if names:
        yield warn(
            "generated_from_organization",
            f"generated columns change with {context.organization_column}: {_some(names)}",
            "nothing to do: a rollback computes them back",
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")  # noqa: PLR2004 - as in examples
