"""An organization column that is there already, with another type or meaning."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.catalog.model import Column
from tenant_migration.planning.counted import counted
from tenant_migration.planning.hazards.context import TableContext, info, quoted, refuse, warn
from tenant_migration.planning.model import Hazard


def organization_column_type(context: TableContext) -> Iterator[Hazard]:
    """Refuse a column that cannot hold an organization: no uuid, or generated."""
    column = context.existing_column
    if column is None:
        return
    if column.generated:
        yield refuse(
            "organization_column_generated",
            f"{column.name} is generated from {column.default_sql}: nothing can be written to it",
            _another_column(context),
        )
    elif column.base_type != "pg_catalog.uuid":
        yield refuse(
            "organization_column_type",
            f"{column.name} is there already as {column.type_sql}, a column of another meaning",
            _another_column(context),
        )


def organization_column_meaning(context: TableContext) -> Iterator[Hazard]:
    """Refuse a column that keys or places rows, or refers to something else than organizations."""
    column = context.existing_column
    if column is None or context.column_is_ours:
        return
    table, name = context.table, column.name
    if name in table.primary_key:
        yield refuse(
            "organization_column_in_primary_key",
            f"{name} is part of the primary key ({', '.join(table.primary_key)})",
            _another_column(context),
        )
    if name in table.partition_key:
        yield refuse(
            "organization_column_places_rows",
            f"{name} decides a row's partition: writing it would move the row",
            _another_column(context),
        )
    for key in context.foreign_keys:
        if key.child_columns == (name,) and key.parent != _organizations(context):
            yield refuse(
                "organization_column_refers_elsewhere",
                f"{name} refers to {key.parent} by foreign key {key.name}, not to "
                f"{context.database.config.organizations.table}",
                _another_column(context),
            )
    if not _means_organization(context, column):
        for index in table.indexes:
            if index.unique and not index.primary and name in index.mentions:
                yield refuse(
                    "organization_column_unique",
                    f"{name} is part of the unique index {index.name}, and no foreign key to the "
                    "organizations says that it means an organization",
                    _another_column(context)
                    + "; or, where it does mean one, declare the foreign key to the organizations",
                )


def organization_column_habits(context: TableContext) -> Iterator[Hazard]:
    """Tell of defaults, NOT NULL, checks and uniques of a column that is there already and can be used."""
    column = context.usable_column
    if column is None or context.column_is_ours:
        return
    if column.has_default:
        yield warn(
            "organization_column_default",
            f"{column.name} has the default {column.default_sql}: new rows never are NULL, so never filled",
            f"ALTER TABLE {context.sql_name} ALTER COLUMN {quoted(column.name)} DROP DEFAULT, "
            "unless it is meant",
        )
    if column.not_null:
        yield info(
            "organization_column_not_null",
            f"{column.name} is NOT NULL: every row has a value, and on_existing_value decides",
            "nothing to do",
        )
    for constraint in context.table.constraints:
        if column.name not in constraint.columns:
            continue
        if constraint.kind == "exclusion":
            yield warn(
                "exclusion_on_organization",
                f"constraint {constraint.name} holds {column.name}: {constraint.definition}; rows of two "
                "tenants of one organization may collide",
                "rows that it refuses are quarantined; look whether any do",
            )
        if constraint.kind == "check":
            yield warn(
                "check_on_organization",
                f"constraint {constraint.name} judges {column.name}: {constraint.definition}",
                "rows that it refuses are quarantined; look whether mapped organizations satisfy it",
            )
    if _means_organization(context, column):
        for index in context.table.indexes:
            if index.unique and column.name in index.mentions and not index.primary:
                yield warn(
                    "unique_on_organization",
                    f"unique index {index.name} holds {column.name}: rows of two tenants of one organization "
                    "may collide",
                    "`validate` counts the collisions before anything is written",
                )


def existing_values(context: TableContext) -> Iterator[Hazard]:
    """Tell of rows whose organization differs from the mapping; refuse unless the configuration decides."""
    values = context.values
    if context.usable_column is None or values is None or values.differing_rows == 0:
        return
    detail = f"{counted(values.differing_rows, 'row')} with an organization that is not the mapped one"
    if context.settings.on_existing_value == "refuse":
        yield refuse(
            "existing_values_differ",
            detail,
            f"decide with tables.{context.name}.on_existing_value: `keep` leaves and records them, "
            "`overwrite` replaces them (undone by a rollback); or correct the rows or the mapping, "
            "and plan again",
        )
    else:
        yield info(
            "existing_values_differ", detail, f"on_existing_value: {context.settings.on_existing_value}"
        )


def _another_column(context: TableContext) -> str:
    return (
        "choose another name: organization_column for all tables, or "
        f"tables.{context.name}.organization_id_column for this one"
    )


def _organizations(context: TableContext) -> object:
    table = context.database.organizations.table
    return table.name if table else None


def _means_organization(context: TableContext, column: Column) -> bool:
    return any(
        key.child_columns == (column.name,) and key.parent == _organizations(context)
        for key in context.foreign_keys
    )
