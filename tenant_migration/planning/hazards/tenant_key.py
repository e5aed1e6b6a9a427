"""The tenant key itself: which column it is, whether it can be compared, and what its rows say."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.counted import counted
from tenant_migration.planning.hazards.context import (
    DatabaseContext,
    TableContext,
    info,
    quoted,
    refuse,
    warn,
)
from tenant_migration.planning.leading_index import leading_index
from tenant_migration.planning.model import Hazard


def several_keys(context: TableContext) -> Iterator[Hazard]:
    """Refuse a table with several columns that could be the key."""
    candidates = context.managed.candidates
    if len(candidates) > 1:
        yield refuse(
            "several_tenant_keys",
            f"{', '.join(candidates)} could each be the tenant key",
            f"say which with tables.{context.name}.tenant_id_column",
        )


def key_type(context: TableContext) -> Iterator[Hazard]:
    """Refuse keys that PostgreSQL cannot compare, and keys of which a row has several."""
    column = context.managed.tenant_column
    if column.is_array:
        yield refuse(
            "tenant_key_is_array",
            f"{column.name} is {column.type_sql}: a row with several tenants has no one organization",
            f"name another column with tables.{context.name}.tenant_id_column, or exclude the table",
        )
        return
    if not column.comparable:
        yield refuse(
            "tenant_key_not_comparable",
            f"PostgreSQL cannot compare values of type {column.type_sql} ({column.name})",
            f"name another column with tables.{context.name}.tenant_id_column, or exclude the table",
        )


def missing_index(context: TableContext) -> Iterator[Hazard]:
    """Warn where one tenant's rows cannot be found without reading the whole table."""
    column = context.managed.tenant_column.name
    if leading_index(context.table, column) is None:
        yield warn(
            "tenant_index_missing",
            f"no index leads with {column}: work on one tenant reads the whole table; all at once "
            "do not need it",
            f"CREATE INDEX CONCURRENTLY ON {context.sql_name} ({quoted(column)}), "
            "where single tenants are migrated",
        )


def row_values(context: TableContext) -> Iterator[Hazard]:
    """Tell of NULL keys and of tenants without a mapping, with counts; or why there are no counts."""
    values = context.values
    if values is None or values.unreadable:
        return
    if values.not_counted:
        yield warn(
            "tenants_not_counted",
            f"rows without a tenant or a mapping: not counted: {values.not_counted}",
            "`validate` counts them exactly before anything is written",
        )
        return
    if values.null_rows:
        required = context.settings.tenant_required
        yield warn(
            "null_tenant_keys",
            f"{counted(values.null_rows, 'row')} of {values.rows:,} without a tenant; they are never filled"
            + (", and tenant_required makes `validate` fail" if required else ""),
            "nothing, where rows may belong to nobody; else give them a tenant first",
        )
    if values.unmapped_rows:
        shown = ", ".join(f"{tenant!r} ({rows:,})" for tenant, rows in values.unmapped_examples)
        more = values.unmapped_tenants - len(values.unmapped_examples)
        yield warn(
            "unmapped_tenants",
            f"{counted(values.unmapped_rows, 'row')} of {counted(values.unmapped_tenants, 'tenant')} "
            f"without a mapping: {shown}" + (f", and {more:,} more" if more > 0 else ""),
            "import their mappings, or name them in validation.allowed_unmapped_tenants; until then "
            "a run over all tenants is refused",
        )
    if values.allowed_unmapped_rows:
        yield info(
            "allowed_unmapped_tenants",
            f"{counted(values.allowed_unmapped_rows, 'row')} of tenants that may stay without a mapping",
            "nothing to do; they are never migrated",
        )


def mapping_unknown(context: DatabaseContext) -> Iterator[Hazard]:
    """Say that nothing is known of mappings where they are not installed, or closed to the connected role."""
    if context.mapping == "not installed":
        yield info(
            "mapping_unknown",
            "unmapped tenants: not known: not installed",
            "run `tenant-migration install`, import the mappings, and plan again",
        )
    elif context.mapping == "not readable":
        yield info(
            "mapping_unknown",
            f"unmapped tenants: not known: role {context.catalog.server.role} may not read all of "
            f"{context.config.interface_schema}.tenant_org_mappings",
            "plan as the role that installed it, or an inheriting member of it",
        )
